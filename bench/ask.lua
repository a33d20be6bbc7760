-- Clients of 1C that ask GET /api/changes once a second each, from the position that the last answer told; the first one is an
-- argument.
dofile(os.getenv("BENCH_POST_LUA")) -- its setup and done

local path, key, position = nil, nil, 0

function init(args)
  key, position = args[1], args[2]
  path = wrk.path
  wrk.headers["Authorization"] = "Bearer " .. key
end

function request()
  return wrk.format("GET", path .. "?after=" .. position .. "&ext=102&limit=500")
end

function response(status, headers, body)
  position = string.match(body, '"position": (%d+)') or position
end

function delay()
  return 1000
end
