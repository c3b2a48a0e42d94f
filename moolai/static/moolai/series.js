/* Draws groups of charts over stored measurements, and appends samples as they come over /ws.
 *
 * A group is an element [data-series="/url?organization_id=…"] with data-organization, and data-orchestrator where only one
 * machine counts (empty: the host). In it: [data-range] buttons, and boxes [data-columns="a b" data-names="A|B" data-unit=" %"]
 * (data-of="calls": from the calls of the API; "tasks": from the task queue, data-tasks="own" or "all" of the group), each beside an element [data-legend]. It keeps no more than the range shows.
 */
(() => {
  "use strict";

  const SPANS = { "1h": 3600, "6h": 21600, "24h": 86400, "7d": 604800, "30d": 2592000 };
  const NAMES = { "1h": "last hour", "6h": "last 6 hours", "24h": "last 24 hours", "7d": "last 7 days", "30d": "last 30 days" };
  const RESOLUTIONS = { raw: "", hourly: "hour by hour", daily: "day by day" };
  const COLOURS = [["#6366f1", "99,102,241"], ["#0ea5e9", "14,165,233"], ["#d97706", "217,119,6"]];
  const LOOK_MS = 30000; // what is drawn is read anew: roll-ups move, the calls of a minute are stored
  const LOST_MS = 3000; // while nothing comes over the socket
  const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";

  function tick(range, seconds) {
    const moment = new Date(seconds * 1000);
    if (range === "30d") return moment.toLocaleDateString([], { day: "numeric", month: "short" });
    const day = range === "7d" ? { weekday: "short" } : {};
    return moment.toLocaleTimeString([], { ...day, hour: "2-digit", minute: "2-digit", hour12: false });
  }

  function full(seconds) {
    return new Date(seconds * 1000).toLocaleString([], { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  }

  /* A value between two gaps is no line: show the point. */
  function lonely(plot, index) {
    const values = plot.data[index];
    const found = [];
    for (let at = 0; at < values.length; at += 1) if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
    return found;
  }

  function group(root) {
    const boxes = [...root.querySelectorAll("[data-columns]")].map((element) => box(root, element));
    const columns = boxes.filter((one) => one.of === "measured").flatMap((one) => one.columns);
    const wantsCalls = boxes.some((one) => one.of === "calls");
    const buttons = [...root.querySelectorAll("[data-range]")];
    const state = { range: "1h", tag: "", data: null, counts: 0, lastAt: 0, isBusy: false, isDirty: false, isLive: false, readAt: 0, cursor: null };
    root.moolaiState = state; // for whoever measures

    const address = (range) => `${root.dataset.series}&range=${range}&columns=${[...new Set(columns)].join(",")}${wantsCalls ? "&calls=1" : ""}${root.dataset.tasks ? `&tasks=${root.dataset.tasks}` : ""}`;

    const load = async () => {
      if (state.isBusy || document.hidden) return;
      state.isBusy = true;
      const asked = state.range;
      try {
        const headers = state.tag ? { "If-None-Match": state.tag } : {};
        const response = await fetch(address(asked), { credentials: "same-origin", cache: "no-store", headers });
        state.readAt = Date.now();
        if (!response.ok || response.redirected || asked !== state.range) return;
        take(await response.json());
        state.tag = response.headers.get("ETag") || "";
      } catch {
        /* the next look tries again */
      } finally {
        state.isBusy = false;
        if (asked !== state.range) load();
      }
    };

    const take = (answer) => {
      state.data = answer;
      state.counts = 1;
      state.lastAt = Math.max(state.lastAt, answer.latest ? answer.latest[0] : 0);
      state.skew = answer.until - Date.now() / 1000;
      root.dataset.metrics = answer.measured.x.length ? "some" : "none";
      const calls = root.querySelectorAll("[data-no-calls]");
      for (const element of calls) element.hidden = !answer.calls || answer.calls.x.length > 0;
      draw();
    };

    const draw = () => {
      state.isDirty = false;
      const { data } = state;
      if (!data) return;
      const until = Date.now() / 1000 + state.skew;
      for (const one of boxes) if (data[one.of] && (one.of !== "measured" || data.measured.x.length)) one.draw(data[one.of], [until - SPANS[data.range], until], state);
      say();
    };

    /* Show the values under the cursor, else the newest. */
    const say = () => {
      const { data, cursor } = state;
      const at = cursor === null ? null : cursor;
      for (const one of boxes) one.say(data, at);
      const words = RESOLUTIONS[data?.measured.resolution] || "";
      const text = at === null ? `Times in ${ZONE}${words ? `, ${words}` : ""}` : `${full(at)}, ${ZONE}`;
      for (const element of root.querySelectorAll("[data-zone]")) if (element.textContent !== text) element.textContent = text;
    };
    state.point = (at) => {
      if (state.cursor === at) return;
      state.cursor = at;
      say();
    };

    /* A sample goes into the bucket it belongs to, or begins the next one; what left the range is let go. */
    const append = ({ detail }) => {
      const isOurs = detail.organization_id === root.dataset.organization && (!("orchestrator" in root.dataset) || detail.orchestrator_id === root.dataset.orchestrator);
      if (!isOurs || !state.isLive || !state.data) return;
      const at = Date.parse(detail.timestamp) / 1000;
      const isOne = "orchestrator" in root.dataset;
      if (isOne && at <= state.lastAt) return;
      state.lastAt = at;
      if (isOne) state.data.latest = [at, detail.metrics];
      if (state.data.measured.resolution === "raw") {
        push(state.data.measured, at, detail.metrics, state);
        prune(state.data.measured, Date.now() / 1000 + state.skew - SPANS[state.data.range]);
        root.dataset.metrics = "some";
      }
      if (!state.isDirty) {
        state.isDirty = true;
        requestAnimationFrame(draw);
      }
    };

    for (const button of buttons) {
      button.addEventListener("click", () => {
        state.range = button.dataset.range;
        state.tag = "";
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
        for (const one of boxes) one.element.setAttribute("aria-label", `${one.element.dataset.title}, ${NAMES[state.range]}`);
        load();
      });
    }
    document.addEventListener("moolai:system_metrics", append);
    document.addEventListener("moolai:subscribed", () => { state.isLive = false; });
    document.addEventListener("moolai:pong", () => {
      if (state.isLive) return;
      state.isLive = true; // the snapshot is over: what comes now is new
      load();
    });
    document.addEventListener("visibilitychange", load);
    setInterval(() => { if (Date.now() - state.readAt >= (state.isLive ? LOOK_MS : LOST_MS)) load(); }, 1000);
    load();
  }

  function push(set, at, values, state) {
    const bucket = Math.floor(at / set.step) * set.step;
    const last = set.x.length - 1;
    if (bucket < set.x[last]) return; // late: the next look has it
    const isNew = bucket !== set.x[last];
    state.counts = isNew ? 1 : state.counts + 1;
    if (isNew) set.x.push(bucket);
    for (const [name, lines] of Object.entries(set.series)) {
      const value = values[name] ?? null;
      if (lines.low === null && (isNew ? false : value !== null)) Object.assign(lines, { low: [...lines.avg], high: [...lines.avg] });
      if (isNew) for (const line of [lines.avg, lines.low, lines.high]) line?.push(value);
      else if (value !== null) merge(lines, last, value, state.counts);
    }
  }

  function merge({ avg, low, high }, at, value, count) {
    const before = avg[at];
    avg[at] = before === null ? value : before + (value - before) / count;
    low[at] = before === null ? value : Math.min(low[at], value);
    high[at] = before === null ? value : Math.max(high[at], value);
  }

  function prune(set, since) {
    let gone = 0;
    while (gone < set.x.length && set.x[gone] < since - set.step) gone += 1;
    if (!gone) return;
    set.x.splice(0, gone);
    for (const { avg, low, high } of Object.values(set.series)) for (const line of [avg, low, high]) line?.splice(0, gone);
  }

  function box(root, element) {
    const columns = element.dataset.columns.split(" ");
    const names = element.dataset.names.split("|");
    const unit = element.dataset.unit || "";
    const labels = legend(element, names);
    let update = null;
    let window_ = [0, 1];
    let range = "1h";
    let point = () => {};
    const options = () => ({
      axes: moolaiCharts.axes(unit.trim() === "%" ? " %" : "", (seconds) => tick(range, seconds)),
      cursor: { y: false, sync: { key: root.dataset.series, scales: ["x", null] }, points: { size: 6 } },
      scales: { x: { time: true, range: () => window_ }, y: { range: (u, low, high) => [0, top(high, unit)] } },
      series: [{}, ...columns.flatMap((_, index) => lines(index))],
      bands: columns.map((_, index) => ({ series: [3 * index + 3, 3 * index + 2], fill: `rgba(${COLOURS[index][1]},.18)` })),
      hooks: { setCursor: [(plot) => point(plot.cursor.idx == null ? null : plot.data[0][plot.cursor.idx])] },
    });
    return {
      element,
      of: element.dataset.of || "measured",
      columns,
      draw(set, shown, state) {
        window_ = shown;
        range = state.data.range;
        point = state.point;
        const data = [set.x, ...columns.flatMap((name) => three(set.series[name]))];
        if (update) update(data);
        else update = moolaiCharts.chart(element, options, data);
        element.moolaiPlot = update.plot;
      },
      say(data, at) {
        const set = data?.[this.of];
        columns.forEach((name, index) => {
          const value = set ? found(set, name, at, data.latest, this.of) : null;
          const text = value == null ? "–" : `${value >= 100 ? Math.round(value) : value.toFixed(value < 1 && unit.trim() !== "%" ? 2 : 1)}${unit}`;
          if (labels[index].textContent !== text) labels[index].textContent = text;
        });
      },
    };
  }

  function found(set, name, at, latest, of) {
    const values = set.series[name].avg;
    if (at !== null) return values[nearest(set.x, at, set.step)];
    if (of === "measured" && latest && latest[1][name] !== undefined) return latest[1][name];
    return values.findLast((value) => value !== null);
  }

  function nearest(xs, at, step) {
    let low = 0;
    let high = xs.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (xs[middle] < at) low = middle + 1;
      else high = middle;
    }
    if (low > 0 && at - xs[low - 1] < xs[low] - at) low -= 1;
    return Math.abs(xs[low] - at) <= step ? low : -1;
  }

  function lines(index) {
    const stroke = COLOURS[index][0];
    const hidden = { stroke: "transparent", width: 0, points: { show: false } };
    return [{ stroke, width: 1.75, spanGaps: false, points: { show: true, size: 5, fill: stroke, filter: lonely } }, hidden, hidden];
  }

  function three({ avg, low, high }) {
    return [avg, low || avg, high || avg];
  }

  function top(high, unit) {
    if (unit.trim() === "%") return Math.max(10, Math.min(100, (high || 0) * 1.25));
    return Math.max((high || 0) * 1.2, 0.1);
  }

  function legend(element, names) {
    const place = element.parentElement.querySelector("[data-legend]");
    return names.map((name, index) => {
      const part = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.background = COLOURS[index][0];
      const value = document.createElement("b");
      value.dataset.metric = element.dataset.columns.split(" ")[index];
      value.textContent = "–";
      part.append(swatch, `${name} `, value);
      place.append(part);
      return value;
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const root of document.querySelectorAll("[data-series]")) group(root);
  });
})();
