/* Keeps the console live: one dashboard session on /ws (PROTOCOL §2), ticking times, the independence switches, toasts.
 *
 * A page asks for it with an element [data-live-topics="orchestrators fleet events"]. What is updated is named in the HTML:
 *   data-of="orch-001" data-live="status|is_connected|last_seen|version|config_status|switch"   fields of an orchestrator
 *   data-fleet="total|connected|active|…"                                                counts
 *   data-message="17" data-show="status|attempts"                                        fields of a message
 *   data-refresh="/url" data-refresh-message="17"                                        a piece of HTML, loaded anew when it moved
 *   data-refresh="/url" data-refresh-kinds="message. config." data-refresh-of="orch-001" pieces of HTML, loaded anew on events
 *   data-refresh-task="tsk_…" beside the kinds: only on events of that task
 *   data-keep on an input with an id within it: what was written there stays
 *   data-badge-of="/url" data-badge="3" within it: what the sidebar says beside that address ("" for nothing)
 *   data-list-kinds="task." on a hint of a list: its rows follow events of these kinds by themselves, and the hint is shown
 *   only while somebody chooses or writes among them; data-list-every="5": every so many seconds, too
 *   data-list-part beside the list: what is replaced along with its rows
 *   data-unfinished within it: loaded anew every 1.5 s, until the server leaves the mark out
 *   data-refresh="/url" data-refresh-alerts                                              the same, on every frame of the topic alerts
 *   data-refresh="/url" data-refresh-every="5"                                           the same, every so many seconds
 * With data-live-organization="org-001" beside the topics, only frames about that organization come.
 * Every frame is also dispatched on the document as the event "moolai:<type>".
 */
(() => {
  "use strict";

  const STATUS = {
    active: ["●", "Active", "green"],
    independent: ["◆", "Independent", "blue"],
    inactive: ["○", "Inactive", "gray"],
    degraded: ["✖", "Error · degraded", "red"],
    error: ["✖", "Error", "red"],
  };
  const CONFIG = { unknown: "gray", pending: "amber", applying: "amber", applied: "green", failed: "red" };
  const MESSAGE = { pending: "amber", sent: "blue", delivered: "green", failed: "red", expired: "gray" };
  const UNITS = [["year", 31536000], ["month", 2629800], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const QUIET_MS = 5000; // after that long without a frame the page asks whether anybody is there
  const STALE_MS = 15000;
  const REMEMBERED = 2000; // events

  // --- times ---------------------------------------------------------------------------------------------------------

  let skew = 0; // how far the server's clock is ahead of the browser's, in ms

  function words(milliseconds) {
    const seconds = Math.floor(milliseconds / 1000);
    if (seconds < 1) return "just now";
    for (const [name, size] of [...UNITS, ["second", 1]]) {
      const count = Math.floor(seconds / size);
      if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"} ago`;
    }
    return "just now";
  }

  function tick() {
    const now = Date.now() + skew;
    for (const element of document.querySelectorAll("time[data-ago][datetime]")) {
      const text = words(now - Date.parse(element.dateTime));
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function setTime(element, value) {
    if (!value) {
      element.removeAttribute("datetime");
      element.removeAttribute("title");
      element.textContent = "never";
    } else if (element.dateTime !== value) {
      element.dateTime = value;
      element.title = `${new Date(value).toISOString().slice(0, 19).replace("T", " ")} UTC`;
      element.textContent = words(Date.now() + skew - Date.parse(value));
      element.classList.remove("is-fresh");
      void element.offsetWidth; // restarts the animation
      element.classList.add("is-fresh");
    }
  }

  // --- orchestrators -------------------------------------------------------------------------------------------------

  let index = null; // orchestrator id → elements that show it
  const pending = new Set(); // orchestrators whose switch waits for its answer

  function elementsOf(id) {
    if (!index) {
      index = new Map();
      for (const element of document.querySelectorAll("[data-of]")) {
        if (!index.has(element.dataset.of)) index.set(element.dataset.of, []);
        index.get(element.dataset.of).push(element);
      }
    }
    return index.get(id) || [];
  }

  function badge(element, tone, glyph, word) {
    element.className = `mo-badge mo-badge-${tone}`;
    element.textContent = "";
    if (glyph) {
      const mark = document.createElement("i");
      mark.textContent = glyph;
      element.append(mark, " ");
    }
    element.append(word);
  }

  const SETTERS = {
    status(element, frame) {
      if (frame.status === element.dataset.status || !STATUS[frame.status]) return;
      element.dataset.status = frame.status;
      const [glyph, word, tone] = STATUS[frame.status];
      badge(element, tone, glyph, word);
    },
    is_connected(element, frame) {
      element.classList.toggle("is-on", frame.is_connected);
      element.lastElementChild.textContent = frame.is_connected ? "connected" : "offline";
    },
    last_seen(element, frame) {
      setTime(element, frame.last_seen);
    },
    frozen(element, frame) {
      element.hidden = !frame.is_independent;
    },
    version(element, frame) {
      element.textContent = frame.version || "–";
    },
    config_status(element, frame) {
      if (element.textContent !== frame.config_status) badge(element, CONFIG[frame.config_status] || "gray", "", frame.config_status);
    },
    switch(element, frame) {
      const button = element.querySelector(".mo-switch");
      const isInherited = frame.independence_source === "organization";
      button.setAttribute("aria-checked", String(frame.is_independent));
      button.setAttribute("aria-disabled", String(isInherited));
      element.querySelector(".mo-note").textContent = isInherited ? `inherited from ${button.dataset.organization}` : "";
    },
  };

  function show(id, frame) {
    for (const element of elementsOf(id)) {
      const field = element.dataset.live;
      const source = field === "switch" || field === "frozen" ? "is_independent" : field;
      if (source in frame) SETTERS[field]?.(element, frame);
    }
  }

  // --- messages ------------------------------------------------------------------------------------------------------

  const shown = new Map(); // message → the state this page shows of it

  function mail(frame) {
    const isUp = frame.direction === "inbound";
    for (const element of document.querySelectorAll(`[data-message="${frame.id}"]`)) {
      if (element.dataset.show === "attempts") element.textContent = isUp ? "–" : String(frame.attempts);
      else if (element.textContent !== frame.status) badge(element, MESSAGE[frame.status] || "gray", "", frame.status);
    }
    const state = `${frame.status} ${frame.attempts}`;
    const before = shown.get(frame.id);
    shown.set(frame.id, state);
    for (const element of document.querySelectorAll(`[data-refresh-message="${frame.id}"]`)) {
      if ((before || element.dataset.refreshState) !== state) refresh(element);
    }
    for (const hint of document.querySelectorAll("[data-message-mark]")) {
      if (frame.id > Number(hint.dataset.messageMark)) hint.hidden = false;
    }
  }

  // --- the independence switch ---------------------------------------------------------------------------------------

  function token() {
    return document.querySelector("input[name=csrfmiddlewaretoken]")?.value || "";
  }

  async function post(url, body) {
    let response;
    try {
      const headers = { "Content-Type": "application/json", "X-CSRFToken": token(), Accept: "application/json" };
      response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
    } catch {
      throw new Error("The controller does not answer. Nothing was changed.");
    }
    if (response.redirected) throw new Error("You are signed out. Reload the page and sign in.");
    const answer = await response.json().catch(() => ({}));
    if (!response.ok || !answer.success) throw new Error(answer.detail || `The controller answered ${response.status}.`);
    return answer.data;
  }

  function draw(button, wanted) {
    const box = button.closest("[data-of]");
    if (!box) {
      button.setAttribute("aria-checked", String(wanted));
      return;
    }
    const frame = { is_independent: wanted, independence_source: wanted ? "own" : null };
    if (wanted) frame.status = "independent";
    show(box.dataset.of, frame);
  }

  async function toggle(button) {
    const { name, url, organization } = button.dataset;
    if (button.getAttribute("aria-disabled") === "true") {
      const where = `/admin/orgs/organization/${encodeURIComponent(organization)}/change/`;
      toast(`${name} inherits its independence from ${organization}.`, { tone: "blue", link: [`Open ${organization}`, where] });
      return;
    }
    if (pending.has(url)) return;
    const wanted = button.getAttribute("aria-checked") !== "true";
    const id = button.closest("[data-of]")?.dataset.of;
    const before = id ? elementsOf(id).find((element) => element.dataset.live === "status")?.dataset.status : null;
    pending.add(url);
    if (id) pending.add(id);
    draw(button, wanted);
    button.setAttribute("aria-busy", "true");
    try {
      const data = await post(url, { is_independent: wanted });
      if (id) show(id, data);
      else button.setAttribute("aria-checked", String(data.is_independent));
      const text = data.is_independent ? `${name} is now independent` : `${name} is managed again`;
      toast(text, { tone: data.is_independent ? "blue" : "green", action: ["Undo", () => toggle(button)] });
    } catch (problem) {
      draw(button, !wanted);
      if (id && before) show(id, { status: before });
      toast(`${name} is unchanged. ${problem.message}`, { tone: "red" });
    } finally {
      pending.delete(url);
      pending.delete(id);
      button.removeAttribute("aria-busy");
    }
  }

  // --- toasts --------------------------------------------------------------------------------------------------------

  function toast(text, { tone = "gray", action, link } = {}) {
    let tray = document.querySelector(".mo-toasts");
    if (!tray) {
      tray = document.createElement("div");
      tray.className = "mo-toasts";
      tray.setAttribute("role", "status");
      tray.setAttribute("aria-live", "polite");
      document.body.append(tray);
    }
    const box = document.createElement("div");
    box.className = `mo-toast mo-toast-${tone}`;
    const words_ = document.createElement("span");
    words_.textContent = text;
    box.append(words_);
    const leave = () => box.remove();
    if (action) box.append(control("button", action[0], () => { leave(); action[1](); }));
    if (link) box.append(Object.assign(control("a", link[0]), { href: link[1] }));
    box.append(Object.assign(control("button", "×", leave), { className: "mo-toast-close", ariaLabel: "Close" }));
    while (tray.children.length > 2) tray.firstElementChild.remove();
    tray.append(box);
    let timer = setTimeout(leave, 8000);
    box.addEventListener("pointerenter", () => clearTimeout(timer));
    box.addEventListener("pointerleave", () => { timer = setTimeout(leave, 4000); });
  }

  function control(tag, text, onClick) {
    const element = document.createElement(tag);
    element.textContent = text;
    if (tag === "button") element.type = "button";
    if (onClick) element.addEventListener("click", onClick);
    return element;
  }

  // --- pieces of HTML that are loaded anew ---------------------------------------------------------------------------

  const waiting = new Map();
  let loads = 0;

  function refresh(element) {
    if (waiting.has(element)) return;
    const pause = Math.max(0, 1000 - (Date.now() - Number(element.dataset.refreshedAt || 0)));
    waiting.set(element, setTimeout(async () => {
      waiting.delete(element);
      element.dataset.refreshedAt = String(Date.now());
      const number = (loads += 1);
      try {
        const response = await fetch(element.dataset.refresh, { credentials: "same-origin" });
        if (!response.ok || response.redirected) return;
        const text = await response.text();
        if (number < Number(element.dataset.refreshShown || 0)) return; // a later answer was faster
        element.dataset.refreshShown = String(number);
        const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
        const kept = [...element.querySelectorAll("[data-keep][id]")].map(({ id, value }) => [id, value]);
        element.innerHTML = text;
        for (const [id, value] of kept) if (document.getElementById(id)) document.getElementById(id).value = value;
        count(element);
        if (focused) document.getElementById(focused)?.focus();
        index = null;
        tick();
      } catch {
        /* the next event tries again */
      }
    }, pause));
  }

  function count(element) {
    for (const mark_ of element.querySelectorAll("[data-badge-of]")) {
      const link = document.querySelector(`#nav-sidebar-apps a[href="${mark_.dataset.badgeOf}"]`);
      if (!link || !link.children[1]) continue;
      const shown_ = link.children[2]?.textContent.trim() || "";
      if (shown_ === mark_.dataset.badge) continue;
      link.children[2]?.remove();
      if (mark_.dataset.badge) link.append(Object.assign(document.createElement("span"), { className: "tk-badge", textContent: mark_.dataset.badge }));
    }
  }

  // --- lists that follow ---------------------------------------------------------------------------------------------

  const LIST = "#changelist-form";
  const LIST_PAUSE_MS = 2000;
  const following = { isStale: false, isLoading: false, at: 0, seen: "" };

  function listHint() {
    return document.querySelector("[data-list-kinds]");
  }

  // Nobody loses what they write, choose, have open or stand on.
  function isTouched(list) {
    if (list.contains(document.activeElement) || list.querySelector("input[type=checkbox]:checked, details[open]")) return true;
    if (!getSelection().isCollapsed && list.contains(getSelection().anchorNode)) return true;
    return [...list.querySelectorAll("input:is([type=text], :not([type])), textarea")].some(({ value, defaultValue }) => value !== defaultValue);
  }

  async function follow() {
    const [list, hint] = [document.querySelector(LIST), listHint()];
    if (!list || !hint) return;
    following.isStale = true;
    hint.hidden = !isTouched(list);
    if (!hint.hidden || following.isLoading || document.hidden || Date.now() - following.at < LIST_PAUSE_MS) return; // poll() comes back to it
    Object.assign(following, { isStale: false, isLoading: true, at: Date.now() });
    try {
      const response = await fetch(location.href, { credentials: "same-origin" });
      if (!response.ok || response.redirected) return;
      const made = new DOMParser().parseFromString(await response.text(), "text/html");
      if (isTouched(list)) following.isStale = true;
      else replace(list, made);
    } catch {
      following.isStale = true;
    } finally {
      following.isLoading = false;
    }
  }

  // What a person sees of a list; ages move by themselves, and the token is another each time.
  function imprint(list) {
    const copy = list.cloneNode(true);
    for (const element of copy.querySelectorAll("input[name=csrfmiddlewaretoken]")) element.remove();
    for (const element of copy.querySelectorAll("time")) element.textContent = "";
    return copy.innerHTML;
  }

  function replace(list, made) {
    const fresh = made.querySelector(LIST);
    if (!fresh) return;
    const seen = imprint(fresh);
    if (seen === following.seen) return;
    following.seen = seen;
    list.innerHTML = fresh.innerHTML;
    const [olds, news] = [document, made].map((page) => [...page.querySelectorAll("[data-list-part]")]);
    olds.forEach((old, place) => { if (news[place]) old.innerHTML = news[place].innerHTML; });
    const boxes = list.querySelectorAll("tr input.action-select");
    if (boxes.length) window.Actions?.(boxes, { parent: list });
    index = null;
    tick();
  }

  function pollList() {
    const every = Number(listHint()?.dataset.listEvery || 0) * 1000;
    if (following.isStale || (every && Date.now() - following.at >= every)) follow();
  }

  // What says that it is not finished moves without events, too (somebody goes away, a time-out): look again and again.
  function poll() {
    if (document.hidden) return;
    pollList();
    for (const mark_ of document.querySelectorAll("[data-refresh] [data-unfinished]")) refresh(mark_.closest("[data-refresh]"));
    for (const element of document.querySelectorAll("[data-refresh-every]")) {
      if (Date.now() - Number(element.dataset.refreshedAt || 0) >= Number(element.dataset.refreshEvery) * 1000) refresh(element);
    }
  }

  function happened(frame) {
    for (const element of document.querySelectorAll("[data-refresh]")) {
      const kinds = (element.dataset.refreshKinds || "").split(" ");
      const of = element.dataset.refreshOf;
      const task = element.dataset.refreshTask;
      if (task && task !== frame.data?.task_id) continue;
      if ((!of || of === frame.orchestrator_id) && kinds.some((kind) => frame.kind.startsWith(kind))) refresh(element);
    }
    if (/^orchestrator\.(registered|created|deleted)$/.test(frame.kind)) {
      for (const hint of document.querySelectorAll("[data-list-changed]")) hint.hidden = false;
    }
    if (listHint()?.dataset.listKinds.split(" ").some((kind) => frame.kind.startsWith(kind))) follow();
    for (const hint of document.querySelectorAll("[data-changed-kinds]")) {
      if (frame.kind.startsWith(hint.dataset.changedKinds)) hint.hidden = false;
    }
  }

  // --- the dashboard session -----------------------------------------------------------------------------------------
  //
  // The page sends `subscribe`, then `ping`. Frames are answered in order, so the first `pong` is the end of the snapshot,
  // whatever the topics are. Until then events are history: only what is newer than the page knows is news. Then every
  // piece is loaded once, because something may have happened after the page was made and before it subscribed.

  let topics = [];
  let organization = ""; // the only one the page is about
  let attempt = 0;
  let mark = 0; // the newest event this page knows
  let known = 0; // the mark when the socket was opened
  let oldest = 0; // of the first snapshot: what is older than that is history, whenever it comes
  const heard = new Set(); // numbers of events; their order is not always that of their coming
  let lastFrame = 0;
  let lastNews = 0; // `pong` says that somebody is there, not that anything is read
  let asked = 0; // when a ping was sent that nothing came after
  let socket = null;
  let isSubscribed = false;
  let isSnapshot = true;

  function indicate(state, text) {
    for (const element of document.querySelectorAll("[data-live-topics]")) {
      element.dataset.state = state;
      element.querySelector("span").textContent = text;
    }
  }

  const HANDLERS = {
    subscribed() {
      isSubscribed = true;
    },
    pong() {
      if (!isSubscribed) {
        abandon(); // it was refused: the database does not answer
        return;
      }
      if (!isSnapshot) return;
      isSnapshot = false;
      if (!oldest && heard.size) oldest = Math.min(...heard);
      attempt = 0;
      indicate("live", "Live");
      for (const element of document.querySelectorAll("[data-refresh]")) refresh(element);
      follow();
    },
    orchestrator_status(frame) {
      if (!pending.has(frame.orchestrator_id)) show(frame.orchestrator_id, frame);
    },
    fleet(frame) {
      const offset = Date.parse(frame.timestamp) - Date.now();
      skew = Math.abs(offset) > 2000 ? offset : 0;
      const counts = { ...frame.by_status, total: frame.total, connected: frame.connected };
      counts.error += counts.degraded;
      for (const element of document.querySelectorAll("[data-fleet]")) {
        const text = String(counts[element.dataset.fleet]);
        if (element.textContent !== text) element.textContent = text;
      }
    },
    message(frame) {
      mail(frame);
    },
    alert() {
      for (const element of document.querySelectorAll("[data-refresh-alerts]")) refresh(element);
    },
    event(frame) {
      if (frame.id < oldest || heard.has(frame.id)) return;
      heard.add(frame.id);
      if (heard.size > REMEMBERED) heard.delete(heard.values().next().value);
      const isNews = !isSnapshot || (known > 0 && frame.id > known);
      mark = Math.max(mark, frame.id);
      if (isNews) happened(frame);
    },
  };

  function connect() {
    const ours = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket = ours;
    isSubscribed = false;
    isSnapshot = true;
    known = mark;
    lastFrame = lastNews = asked = Date.now();
    ours.addEventListener("open", () => {
      ours.send(JSON.stringify({ type: "subscribe", topics, ...(organization ? { organization_id: organization } : {}) }));
      ping();
    });
    ours.addEventListener("message", ({ data }) => {
      if (socket !== ours) return;
      const frame = JSON.parse(data);
      lastFrame = Date.now();
      asked = 0;
      if (frame.type !== "pong") lastNews = lastFrame;
      HANDLERS[frame.type]?.(frame);
      document.dispatchEvent(new CustomEvent(`moolai:${frame.type}`, { detail: frame }));
    });
    ours.addEventListener("close", ({ code }) => { if (socket === ours) lost(code); });
  }

  function lost(code) {
    socket = null;
    if (code === 4401 || code === 4403) {
      indicate("out", "Signed out");
      toast("Your session has ended.", { tone: "red", link: ["Sign in", `/admin/login/?next=${encodeURIComponent(location.pathname)}`] });
      return;
    }
    indicate("lost", "Reconnecting…");
    const ceiling = Math.min(30000, 1000 * 2 ** attempt);
    attempt += 1;
    setTimeout(connect, 200 + Math.random() * ceiling);
  }

  function abandon() {
    const dead = socket;
    lost(1006);
    dead.close();
  }

  function ping() {
    asked = Date.now();
    socket.send(JSON.stringify({ type: "ping" }));
  }

  // Silence is no death: a page where nothing happens asks, and only what does not answer is dead. Where counts of the
  // fleet come every two seconds, their absence is one, too: the controller is there, and does not read any more.
  function watch() {
    if (!socket) return;
    const now = Date.now();
    const isUnanswered = asked > 0 && now - asked > STALE_MS;
    const isStarved = topics.includes("fleet") && now - lastNews > STALE_MS;
    if (isUnanswered || isStarved) abandon();
    else if (!asked && now - lastFrame > QUIET_MS) ping();
  }

  // --- the page ------------------------------------------------------------------------------------------------------

  // The sidebar's count of approvals follows on every page that is live; some pages have it in a piece of their own.
  function watchApprovals() {
    const link = document.querySelector('#nav-sidebar-apps a[href$="/orchestrators/approval/"]');
    if (!link || !document.querySelector("[data-live-topics], [data-call-live]") || document.querySelector("[data-badge-of]")) return;
    const element = Object.assign(document.createElement("div"), { hidden: true });
    Object.assign(element.dataset, { refresh: `${link.getAttribute("href")}badge/`, refreshKinds: "task.", refreshEvery: "10", refreshedAt: String(Date.now()) });
    document.body.append(element);
  }

  function onClick(event) {
    const button = event.target.closest?.(".mo-switch");
    if (button) {
      event.preventDefault();
      toggle(button);
      return;
    }
    const copier = event.target.closest?.("[data-copy]");
    if (copier) copy(copier);
  }

  async function copy(button) {
    const source = document.querySelector(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      toast("Copied.", { tone: "green" });
    } catch {
      getSelection().selectAllChildren(source);
      toast("Selected: press Ctrl+C to copy.");
    }
  }

  // The theme's “Filters” is a link without an address: make it a button for the keyboard, too.
  function makeReachable() {
    for (const link of document.querySelectorAll("a:not([href])")) {
      if (!link.hasAttribute("x-on:click")) continue;
      link.setAttribute("role", "button");
      link.tabIndex = 0;
      link.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        link.click();
        if (/Filters/.test(link.textContent)) setTimeout(focusFilters, 50);
      });
    }
  }

  function focusFilters() {
    document.querySelector("#changelist-filter :is(input:not([type=hidden]), select, .select2-selection)")?.focus();
  }

  // A form marked data-once is sent once, however often its button is pressed; coming back to the page arms it again.
  function onSubmit(event) {
    const form = event.target;
    if (!("once" in form.dataset)) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  }

  document.addEventListener("submit", onSubmit);
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
  document.addEventListener("click", onClick);
  document.addEventListener("DOMContentLoaded", () => {
    tick();
    setInterval(tick, 1000);
    setInterval(poll, 1500);
    makeReachable();
    watchApprovals();
    const wanted = new Set();
    for (const element of document.querySelectorAll("[data-live-topics]")) {
      for (const topic of element.dataset.liveTopics.split(" ")) wanted.add(topic);
      mark = Math.max(mark, Number(element.dataset.eventMark || 0));
      organization = element.dataset.liveOrganization || organization;
    }
    topics = [...wanted];
    if (topics.length) {
      connect();
      setInterval(watch, 2000);
    }
  });
})();
