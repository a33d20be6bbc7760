-- «Завершение звонка» of ever new calls as UIS posts it (about 780 bytes), for wrk.
-- Arguments after --: the first call's number; optionally a file that holds how many requests a second all threads
-- together may send, read ten times a second.
local first, rate_file, threads = 0, nil, 0
local before, between, after, id, last = {}, {}, {}, 0, 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
  thread:set("threads_total", tonumber(os.getenv("BENCH_WRK_THREADS")))
end

local NAMES = {"Основной сценарий", "Отдел продаж", "Бухгалтерия и договоры", "Ночной автоответчик"}
local LOST = {"null", "\"Сотрудник не ответил\""}

-- The body around call_session_id and the client's number; `n` varies every other field.
local function body(n)
  local lost = n % 5 == 0
  local talk, wait = 5 + n * 7 % 600, 3 + n % 40
  local head = string.format('{\n"Start_time":"2024-03-%02d 10:%02d:%02d.100",\n"notification_name":"Завершение звонка",\n' ..
    '"direction":"in",\n"call_session_id":', 1 + n % 28, n % 60, n * 3 % 60)
  local middle = string.format(',\n\n"extension_phone_number":"%d",\n"contact_id": %d,\n"employee_ids":[%d],\n\n' ..
    '"virtual_phone_number":"74951234567",\n"called_phone_number":"74951234567",\n"calling_phone_number":"',
    100 + n % 40, 50000 + n, 482911 + n % 40)
  local tail = string.format('",\n\n"employee_phone_number":"79161234567",\n"total_time_duration": %d,\n"wait_time_duration": %d,\n\n' ..
    '"finish_time":"2024-03-%02d 10:59:%02d.800",\n"finish_reason":"%s",\n\n"is_lost":%s,\n"lost_reason":%s,\n\n' ..
    '"full_record_file_link": null,\n"wav_call_records": %s,\n\n"external_id":null,\n"call_source":"va",\n' ..
    '"contact_full_name":"Иванов Пётр %d",\n"scenario_name": "%s"\n}\n',
    lost and wait or talk + wait, wait, 1 + n % 28, n % 60,
    lost and "no_operator" or "subscriber_disconnects", lost and "true" or "false", LOST[lost and 2 or 1],
    lost and "null" or string.format('["%08x754f91cc6554c9e7%08x"]', n * 2654435 % 4294967296, n * 40503 + 7),
    n, NAMES[1 + n % #NAMES])
  return head, middle, tail
end

function init(args)
  first, rate_file = tonumber(args[1] or "0"), args[2]
  -- ten digits, as UIS has them; each thread counts in a range of its own
  id = 1000000000 + number * 4000000000 / threads_total + first
  for n = 1, 64 do
    local head, middle, tail = body(n + number * 64)
    before[n] = string.format("POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json; charset=utf-8\r\n" ..
      "Content-Length: %d\r\n\r\n%s", wrk.path, #head + 10 + #middle + 11 + #tail, head)
    between[n] = middle
    after[n] = tail
  end
  if not rate_file then delay = nil end
end

function request()
  id = id + 1
  last = last % 64 + 1
  -- scattered, as the numbers of clients are: an index of them is met anywhere
  local phone = "79" .. string.format("%09.0f", (id + number * 123456789) % 1000000000):reverse()
  return before[last] .. string.format("%.0f", id) .. between[last] .. phone .. after[last]
end

local ffi = require("ffi")
ffi.cdef("typedef struct { long s; long ns; } bench_time; int clock_gettime(int, bench_time *);")
local clock = ffi.new("bench_time")
local function now()
  ffi.C.clock_gettime(1, clock)
  return tonumber(clock.s) + tonumber(clock.ns) / 1e9
end

local due, looked, every = 0, 0, 1

-- Milliseconds to wait before the next request of this thread.
function delay()
  local at = now()
  if at - looked > 0.1 then
    looked = at
    local file = io.open(rate_file)
    local rate = file and file:read("*n")
    if file then file:close() end
    if rate and rate > 0 then every = threads_total / rate end
  end
  due = math.max(due + every, at - 0.5) -- after a stall it catches up, by half a second at most
  return math.max(0, math.floor((due - at) * 1000 + 0.5))
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\nBENCH {"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "timeouts": %d, ' ..
    '"p50": %.3f, "p95": %.3f, "p99": %.3f, "longest": %.3f}\n',
    summary.requests, summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write,
    errors.timeout, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3))
end
