// Asks for this very page every few seconds and puts in what changed, leaving alone what a person is doing with it.
"use strict";
(() => {
  // milliseconds; a page rests REST times as long as it took
  const EVERY = Number(document.body.dataset.every) || 3000, LONGEST = 60000, REST = 15;
  const offline = document.getElementById("offline");
  const shown = new Map();
  let delay = EVERY, timer = 0, lostAt = null, looking = false;

  for (const part of document.querySelectorAll("[data-live]")) shown.set(part.id, part.innerHTML);

  function busy(part) {
    const chosen = document.getSelection();
    const choosing = chosen && !chosen.isCollapsed && (part.contains(chosen.anchorNode) || part.contains(chosen.focusNode));
    const typing = part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea");
    return choosing || typing;
  }

  // What is at the top of the window stays there, however much arrives above it.
  function anchor(part) {
    if (window.scrollY < 40) return null;
    for (const element of part.querySelectorAll("[id]")) {
      const top = element.getBoundingClientRect().top;
      if (top >= 0) return { id: element.id, top };
    }
    return null;
  }

  function put(part, html) {
    const known = new Set(Array.from(part.querySelectorAll("[id]"), (element) => element.id));
    const folds = new Map(Array.from(part.querySelectorAll("details[id]"), (fold) => [fold.id, fold.open]));
    const sideways = new Map(Array.from(part.querySelectorAll("pre"), (pre, at) => [at, [pre.scrollLeft, pre.scrollTop]]));
    const focused = part.contains(document.activeElement) ? document.activeElement : null;
    const focus = focused && (focused.id || focused.getAttribute("href"));
    const kept = anchor(part);
    part.innerHTML = html;
    for (const [id, open] of folds) {
      const fold = document.getElementById(id);
      if (fold) fold.open = open;
    }
    part.querySelectorAll("pre").forEach((pre, at) => { if (sideways.has(at)) [pre.scrollLeft, pre.scrollTop] = sideways.get(at); });
    if (focus) {
      const same = document.getElementById(focus) || part.querySelector(`a[href="${CSS.escape(focus)}"]`);
      if (same) same.focus({ preventScroll: true });
    }
    if (kept) {
      const element = document.getElementById(kept.id);
      if (element) window.scrollBy(0, element.getBoundingClientRect().top - kept.top);
    }
    if (known.size) for (const row of part.querySelectorAll("tr[id], article[id], li[id]")) if (!known.has(row.id)) row.classList.add("new");
  }

  async function look() {
    if (looking) return;
    looking = true;
    const began = performance.now();
    try {
      const answer = await fetch(location.origin + location.pathname + location.search, { cache: "no-store", credentials: "same-origin", redirect: "error", signal: AbortSignal.timeout(15000) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.status !== 404 && !answer.ok) throw new Error(page.querySelector("h1")?.textContent);
      for (const part of document.querySelectorAll("[data-live]")) {
        const fresh = page.getElementById(part.id);
        if (!fresh || fresh.innerHTML === shown.get(part.id) || busy(part)) continue;
        shown.set(part.id, fresh.innerHTML);
        put(part, fresh.innerHTML);
      }
      delay = Math.min(LONGEST, Math.max(EVERY, REST * (performance.now() - began)));
      lostAt = null;
      offline.hidden = true;
    } catch (error) {
      lostAt = lostAt || new Date();
      delay = Math.min(LONGEST, delay * 2);
      const why = error.name === "Error" && error.message ? error.message : "Нет связи с коннектором";
      offline.textContent = `${why} (с ${lostAt.toLocaleTimeString("ru-RU")}). Показаны данные на тот момент; страница повторяет запрос сама.`;
      offline.hidden = false;
    }
    looking = false;
    plan();
  }

  function plan() {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(look, delay);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) look();
  });
  // «Скопировать»: the text of the element that the button names; where no clipboard is given (plain http) it is selected
  document.addEventListener("click", async (press) => {
    const button = press.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const label = "Скопировать";
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Скопировано";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(source);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = document.execCommand("copy") ? "Скопировано" : "Выделено, нажмите Ctrl+C";
    }
    setTimeout(() => { button.textContent = label; }, 3000);
  });
  // what the address names is opened, and all that it is folded into
  function open() {
    const named = location.hash && document.getElementById(location.hash.slice(1));
    if (!named) return;
    for (const fold of named.querySelectorAll("details")) fold.open = true;
    for (let outer = named; outer; outer = outer.parentElement) if (outer.matches("details")) outer.open = true;
    named.scrollIntoView();
  }
  window.addEventListener("hashchange", open);
  open();
  plan();
})();
