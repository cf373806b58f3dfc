// One session's replay. The list holds a slot for every hundred statements; a slot is filled while it is near
// the eye and emptied again, so a session of any length takes the memory of a screen. The time line, the
// keys, playing and the list all choose one statement through select().
(() => {
  "use strict";
  const replay = document.getElementById("replay");
  if (!replay) {
    return;
  }
  const here = replay.dataset.here;
  const size = Number(replay.dataset.chunk);
  const LONGEST_PAUSE = 1500; // ms of a replay: a longer one is cut, and the list says how long it was
  const TICK = 50;
  const AT_ONCE = 40; // statements a tick, at most
  const KEPT_SLOTS = 12;
  const POLL = 1500;
  let total = Number(replay.dataset.statements);
  let at = Number(replay.dataset.at);
  let version = replay.dataset.version;
  const state = replay.dataset.state;

  const fetchPart = async (address, signal) => {
    const answer = await fetch(address, { headers: { "HX-Request": "true" }, credentials: "same-origin", signal });
    const elsewhere = answer.headers.get("HX-Redirect");
    if (elsewhere) {
      location.assign(elsewhere);
      return new Promise(() => {});
    }
    return answer;
  };
  const textOf = async (address, signal) => {
    const answer = await fetchPart(address, signal);
    if (!answer.ok && answer.status !== 404) {
      throw new Error(`${address}: ${answer.status}`);
    }
    return answer.text();
  };

  // What is lost is said, and what is shown is not taken for live.
  const failed = (error) => {
    if (error.name !== "AbortError") {
      document.getElementById("replay").classList.add("offline");
      document.getElementById("announcer").textContent = "No answer from the gateway.";
    }
  };

  const poll = (then) => {
    let left = state === "live" ? Infinity : 30; // an end that is not indexed yet comes within seconds
    const ask = async () => {
      try {
        if (!document.hidden) {
          const answer = await fetchPart(`${here}/state`);
          if (!answer.ok) {
            throw new Error(String(answer.status));
          }
          replay.classList.remove("offline");
          await then(await answer.json());
        }
      } catch (error) {
        failed(error);
      }
      if (--left > 0) {
        setTimeout(ask, POLL);
      }
    };
    setTimeout(ask, POLL);
  };

  if (!total) {
    if (state === "live") {
      poll((news) => {
        if (news.statements || news.state !== "live") {
          location.reload();
        }
      });
    }
    return;
  }

  const rows = document.getElementById("rows");
  const panel = document.getElementById("panel");
  const deck = document.getElementById("deck");
  const where = document.getElementById("where");
  const playButton = document.getElementById("play");
  const speedChoice = document.getElementById("speed");
  const follow = document.getElementById("follow");
  const announcer = document.getElementById("announcer");
  const number = new Intl.NumberFormat("en");

  // ---- the list ----
  const slots = [];
  const loading = new Map();
  const rowHeight = rows.querySelector(".st").offsetHeight || 30;
  const slotOf = (seq) => Math.floor((seq - 1) / size);
  const rowOf = (seq) => document.getElementById(`s${seq}`);
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        entry.target.dataset.near = entry.isIntersecting ? "1" : "";
        if (entry.isIntersecting) {
          load(Number(entry.target.dataset.number)).catch(failed);
        }
      }
      empty();
    },
    { root: rows, rootMargin: "900px 0px" },
  );

  const makeSlots = () => {
    const wanted = Math.ceil(total / size);
    const most = 24e6 / wanted; // a browser has no element higher than some 33 million pixels
    while (slots.length < wanted) {
      const slot = document.createElement("div");
      slot.className = "slot";
      slot.dataset.number = String(slots.length);
      const held = Math.min(size, total - slots.length * size);
      slot.style.height = `${Math.min(held * rowHeight, most)}px`;
      slots.push(slot);
      rows.append(slot);
      near.observe(slot);
    }
  };
  const fill = (slot, html) => {
    slot.innerHTML = html;
    slot.style.height = "";
    mark();
  };
  const load = (which, again = false) => {
    const slot = slots[which];
    if (!slot) {
      return Promise.resolve();
    }
    if (slot.firstChild && !again) {
      return Promise.resolve();
    }
    if (!loading.has(which)) {
      const asked = textOf(`${here}/rows/${which}`)
        .then((html) => fill(slot, html))
        .finally(() => loading.delete(which));
      loading.set(which, asked);
    }
    return loading.get(which);
  };
  const empty = () => {
    const filled = slots.filter((slot) => slot.firstChild);
    if (filled.length <= KEPT_SLOTS) {
      return;
    }
    for (const slot of filled) {
      if (!slot.dataset.near && Number(slot.dataset.number) !== slotOf(at)) {
        slot.style.height = `${slot.offsetHeight}px`;
        slot.replaceChildren();
      }
    }
  };
  const adopt = () => {
    const given = rows.querySelector(".chunk");
    const first = Number(given.dataset.first);
    given.remove();
    makeSlots();
    const slot = slots[slotOf(first)];
    slot.append(given);
    slot.style.height = "";
  };
  const mark = () => {
    for (const line of rows.querySelectorAll("[aria-current]")) {
      line.removeAttribute("aria-current");
    }
    rowOf(at)?.querySelector(".line").setAttribute("aria-current", "true");
  };
  const bring = (row, far) => {
    const outer = rows.getBoundingClientRect();
    const inner = row.getBoundingClientRect();
    const above = inner.top - outer.top - rowHeight;
    const below = inner.bottom - outer.bottom + rowHeight;
    if (far && (above < 0 || below > 0)) {
      rows.scrollTop += inner.top - outer.top - rows.clientHeight / 3;
    } else if (above < 0) {
      rows.scrollTop += above;
    } else if (below > 0) {
      rows.scrollTop += below;
    }
  };

  // ---- the time line ----
  let spans = [];
  let scale = "order";
  const strip = () => document.getElementById("strip");
  const readStrip = () => {
    const found = strip();
    spans = JSON.parse(found.dataset.spans).map(
      ([first, last, x, width, time, written, undone, read, failures, schema]) => ({
        ...{ first, last, x, width, time, written, undone, read, failures, schema },
      }),
    );
    scale = found.dataset.scale;
    for (const link of found.querySelectorAll("a")) {
      link.remove(); // for browsers without scripts
    }
    found.setAttribute("role", "slider");
    found.tabIndex = 0;
    found.setAttribute("aria-label", "Statement");
    found.setAttribute("aria-valuemin", "1");
    found.setAttribute("aria-describedby", "timeline-summary");
    found.addEventListener("pointerdown", grab);
    found.addEventListener("pointermove", drag);
    found.addEventListener("pointerup", letGo);
    found.addEventListener("pointercancel", letGo);
    found.addEventListener("pointerleave", () => tell(spanOf(at)));
  };
  const spanOf = (seq) => {
    let low = 0;
    let high = spans.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle].last < seq) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return spans[low];
  };
  const spanAt = (x) => {
    let best = spans[0];
    let distance = Infinity;
    for (const span of spans) {
      const away = Math.max(span.x - x, x - span.x - span.width, 0) || Math.abs(span.x + span.width / 2 - x) / 1e3;
      if (away < distance) {
        best = span;
        distance = away;
      }
    }
    return best;
  };
  const pointed = (event) => {
    const box = strip().getBoundingClientRect();
    const x = Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100));
    const span = spanAt(x);
    const share = Math.min(0.999, Math.max(0, (x - span.x) / span.width));
    return { span, seq: span.first + Math.floor(share * (span.last - span.first + 1)) };
  };
  const rowsOf = (many, what) => (many ? `${number.format(many)} ${many === 1 ? "row" : "rows"} ${what}` : "");
  const tell = (span) => {
    const which = span.first === span.last ? "" : ` to #${number.format(span.last)}`;
    const parts = [
      `#${number.format(span.first)}${which}`,
      span.time,
      rowsOf(span.written, "written"),
      rowsOf(span.undone, "written, not committed"),
      rowsOf(span.read, "read"),
      span.failures ? `${number.format(span.failures)} not ok` : "",
      span.schema ? "schema" : "",
    ];
    document.getElementById("told").textContent = parts.filter(Boolean).join(" · ");
  };
  let grabbed = false;
  const grab = (event) => {
    if (event.button !== 0) {
      return;
    }
    event.preventDefault();
    grabbed = true;
    strip().setPointerCapture(event.pointerId);
    strip().focus({ preventScroll: true });
    pause();
    select(pointed(event).seq, { far: true });
  };
  const drag = (event) => {
    const { span, seq } = pointed(event);
    tell(span);
    if (grabbed && seq !== at) {
      select(seq, { far: true });
    }
  };
  const letGo = () => {
    grabbed = false;
  };
  const head = () => {
    const found = strip();
    const span = spanOf(at);
    const playhead = document.getElementById("playhead");
    const x = span.x + (span.width * (at - span.first + 0.5)) / (span.last - span.first + 1);
    playhead.style.left = `${Math.min(100, x)}%`;
    playhead.hidden = false;
    found.setAttribute("aria-valuemax", String(total));
    found.setAttribute("aria-valuenow", String(at));
    found.setAttribute("aria-valuetext", described());
    tell(span);
    where.textContent = `${number.format(at)} of ${number.format(total)}`;
  };
  const described = () => {
    const line = rowOf(at)?.querySelector(".line");
    const said = line ? line.textContent.replace(/\s+/g, " ").trim().slice(0, 200) : "";
    return `statement ${number.format(at)} of ${number.format(total)}: ${said}`;
  };
  const redrawDeck = async (wanted) => {
    const focused = strip().contains(document.activeElement);
    deck.innerHTML = await textOf(`${here}/deck?scale=${wanted}`);
    readStrip();
    measure();
    head();
    if (focused) {
      strip().focus({ preventScroll: true });
    }
  };

  // ---- choosing a statement ----
  let turn = 0;
  let panelTimer = 0;
  let panelAsked = 0;
  let panelAbort = new AbortController();
  const opened = { result: false, around: false };

  const select = async (wanted, { far = false, focus = false, say = false } = {}) => {
    const mine = ++turn;
    at = Math.min(total, Math.max(1, wanted));
    if (!rowOf(at)) {
      head();
      await load(slotOf(at)).catch(failed);
      if (mine !== turn) {
        return;
      }
      far = true;
    }
    mark();
    head();
    const row = rowOf(at);
    if (row) {
      bring(row, far);
      if (focus) {
        rows.scrollIntoView({ block: "nearest" });
        row.querySelector(".line").focus({ preventScroll: true });
      }
    }
    if (say) {
      announcer.textContent = described();
    }
    showSoon();
  };
  const showSoon = () => {
    clearTimeout(panelTimer);
    const since = performance.now() - panelAsked;
    panelTimer = setTimeout(show, Math.max(0, Math.min(150, 300 - since)));
  };
  const show = async () => {
    panelAsked = performance.now();
    panelAbort.abort();
    panelAbort = new AbortController();
    const { signal } = panelAbort;
    const shown = at;
    history.replaceState(null, "", `?at=${shown}${scale === "order" ? "" : `&scale=${scale}`}`);
    panel.setAttribute("aria-busy", "true");
    try {
      panel.innerHTML = await textOf(`${here}/statements/${shown}`, signal);
      panel.scrollTop = 0;
      panel.removeAttribute("aria-busy");
      for (const what of ["result", "around"]) {
        if (opened[what] && !playing) {
          await openPart(what, signal);
        }
      }
    } catch (error) {
      failed(error);
    }
  };
  const openPart = async (what, signal) => {
    const link = panel.querySelector(`[data-load="${what}"]`);
    if (!link) {
      return;
    }
    link.setAttribute("aria-busy", "true");
    const html = await textOf(link.getAttribute("href"), signal);
    const place = document.createElement("div");
    place.innerHTML = html;
    link.closest(".more").replaceWith(...place.childNodes);
  };

  // ---- playing ----
  let playing = false;
  let credit = 0;
  let shownWhilePlaying = 0;
  const timeOf = (seq) => Number(rowOf(seq)?.dataset.us);
  const play = () => {
    playing = true;
    credit = 0;
    playButton.textContent = "Pause";
    playButton.setAttribute("aria-pressed", "true");
    if (at >= total && state !== "live") {
      select(1, { far: true });
    }
    tick();
  };
  const pause = () => {
    if (playing) {
      playing = false;
      playButton.textContent = "Play";
      playButton.setAttribute("aria-pressed", "false");
      select(at);
    }
  };
  const tick = async () => {
    if (!playing) {
      return;
    }
    const begun = at;
    const fastest = speedChoice.value === "max";
    credit = Math.min(credit + TICK * (fastest ? 1 : Number(speedChoice.value)), LONGEST_PAUSE * 64);
    for (let steps = 0; steps < AT_ONCE && at < total; steps++) {
      if (!rowOf(at) || !rowOf(at + 1)) {
        try {
          await Promise.all([load(slotOf(at)), load(slotOf(at + 1))]);
        } catch (error) {
          failed(error);
          pause();
          return;
        }
        if (!rowOf(at + 1)) {
          break;
        }
      }
      const gap = fastest ? 0 : Math.min(Math.max(0, (timeOf(at + 1) - timeOf(at)) / 1000), LONGEST_PAUSE);
      if (gap > credit) {
        break;
      }
      credit -= gap;
      at += 1;
    }
    if (!playing) {
      return;
    }
    if (at !== begun) {
      turn += 1;
      mark();
      head();
      bring(rowOf(at), false);
      if (performance.now() - shownWhilePlaying > 400) {
        shownWhilePlaying = performance.now();
        show();
      }
      load(slotOf(at) + 1).catch(failed);
      empty();
    }
    if (at >= total && state !== "live") {
      pause();
      announcer.textContent = "End of the session.";
      return;
    }
    setTimeout(tick, TICK);
  };
  const faster = (by) => {
    const wanted = Math.min(speedChoice.options.length - 1, Math.max(0, speedChoice.selectedIndex + by));
    speedChoice.selectedIndex = wanted;
    announcer.textContent = `Speed ${speedChoice.selectedOptions[0].textContent}`;
  };

  // ---- what one may do ----
  const inList = () => !deck.contains(document.activeElement) && !document.activeElement.closest(".transport");
  const go = (seq, options = {}) => {
    pause();
    unfollow(seq);
    select(seq, { focus: inList(), say: !inList(), ...options });
  };
  const unfollow = (seq) => {
    if (follow && seq < total) {
      follow.checked = false;
    }
  };
  const stop = async (kind, backwards) => {
    try {
      const answer = await fetchPart(`${here}/next?after=${at}&stop=${kind}&backwards=${backwards}`);
      const { seq } = await answer.json();
      if (seq === null) {
        announcer.textContent = `No ${kind} ${backwards ? "before" : "after"} this one.`;
        replay.dataset.none = kind;
        where.textContent = `no ${kind} ${backwards ? "before" : "after"} ${number.format(at)}`;
      } else {
        go(seq, { far: true });
      }
    } catch (error) {
      failed(error);
    }
  };
  const deeds = {
    first: () => go(1, { far: true }),
    previous: () => go(at - 1),
    next: () => go(at + 1),
    last: () => go(total, { far: true }),
    play: () => (playing ? pause() : play()),
    write: (back = false) => stop("write", back),
    failure: (back = false) => stop("failure", back),
    transaction: (back = false) => stop("transaction", back),
  };
  const keys = {
    " ": deeds.play,
    j: deeds.next,
    ArrowDown: deeds.next,
    ArrowRight: deeds.next,
    k: deeds.previous,
    ArrowUp: deeds.previous,
    ArrowLeft: deeds.previous,
    PageDown: () => go(at + 10),
    PageUp: () => go(at - 10),
    Home: deeds.first,
    End: deeds.last,
    w: () => deeds.write(),
    W: () => deeds.write(true),
    e: () => deeds.failure(),
    E: () => deeds.failure(true),
    t: () => deeds.transaction(),
    T: () => deeds.transaction(true),
    "+": () => faster(1),
    "-": () => faster(-1),
    r: () => reveal("result"),
    a: () => reveal("around"),
    "?": () => {
      const help = document.querySelector(".transport .keys");
      help.open = !help.open;
    },
    Enter: () => location.assign(`${here}/statements/${at}`),
  };
  const reveal = (what) => {
    opened[what] = true;
    openPart(what).catch(failed);
  };
  document.addEventListener("keydown", (event) => {
    const target = event.target;
    const does = keys[event.key];
    if (!does || event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, dialog")) {
      return;
    }
    // What has the focus keeps its own keys.
    const presses = event.key === " " || event.key === "Enter";
    if ((presses && target.closest("button, summary")) || (event.key === "Enter" && target.closest("a"))) {
      return;
    }
    if (target.closest(".code, .table-wrap, .panel") && /^(Arrow|Page|Home|End)/.test(event.key)) {
      return;
    }
    event.preventDefault();
    does();
  });
  document.getElementById("transport").addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) {
      deeds[button.dataset.do]();
    }
  });
  rows.addEventListener("click", (event) => {
    const line = event.target.closest(".line");
    if (!line || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) {
      return;
    }
    const seq = Number(line.closest(".st").dataset.seq);
    if (event.detail === 0 && seq === at) {
      return; // enter on the chosen one: to its own page
    }
    event.preventDefault();
    go(seq);
  });
  deck.addEventListener("click", (event) => {
    const link = event.target.closest("[data-seek], [data-scale]");
    if (!link || link === strip() || event.ctrlKey || event.metaKey) {
      return;
    }
    event.preventDefault();
    if (link.dataset.seek) {
      go(Number(link.dataset.seek), { far: true });
    } else {
      redrawDeck(link.dataset.scale)
        .then(() => history.replaceState(null, "", `?at=${at}&scale=${scale}`))
        .catch(failed);
    }
  });
  panel.addEventListener("click", (event) => {
    const link = event.target.closest("[data-load]");
    if (link && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      reveal(link.dataset.load);
    }
  });

  // ---- a live session ----
  let rest = 0; // a session that takes long to draw is drawn less often
  const renew = async (news) => {
    if (news.state !== state) {
      location.assign(`${here}?at=${at}`);
      return;
    }
    if (news.version === version || performance.now() < rest) {
      return;
    }
    version = news.version;
    const begun = performance.now();
    await redrawDeck(scale);
    rest = performance.now() + 10 * (performance.now() - begun);
    const known = total;
    total = Number(strip().dataset.statements);
    makeSlots();
    const stale = slots.filter(
      (slot) => slot.firstChild && (Number(slot.dataset.number) >= slotOf(known) || slot.querySelector('[data-outcome="open"]')),
    );
    for (const slot of stale) {
      await load(Number(slot.dataset.number), true);
    }
    if (follow?.checked && !playing) {
      select(total);
    } else {
      head();
      if (panel.querySelector(".badge.warn")) {
        showSoon();
      }
    }
  };

  // The controls stick below the time line, whatever room its legend takes.
  const measure = () => {
    const tape = deck.querySelector(".tape");
    document.documentElement.style.setProperty("--tape", `${tape.offsetHeight}px`);
  };
  window.addEventListener("resize", measure);

  adopt();
  readStrip();
  measure();
  document.getElementById("transport").hidden = false;
  document.getElementById("pages").hidden = true;
  replay.classList.add("scripted");
  mark();
  head();
  bring(rowOf(at), true);
  follow?.addEventListener("change", () => follow.checked && go(total, { far: true }));
  if (state === "live" || state === "unfinished") {
    poll(renew);
  }
})();
