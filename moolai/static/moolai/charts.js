/* What the console's charts have in common, and the heartbeats per second (from `fleet` frames); series.js draws measurements. */
(() => {
  "use strict";

  const BUCKET = 5;
  const WINDOW = 300; // seconds shown, once there are that many
  const LEAST = 120;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function axes(unit, label_ = clock) {
    const isDark = document.documentElement.classList.contains("dark");
    const stroke = colour(isDark ? "--color-base-400" : "--color-base-500");
    const grid = { stroke: isDark ? "rgba(148,163,184,.12)" : "rgba(100,116,139,.14)", width: 1 };
    const font = "11px Inter, sans-serif";
    return [
      { stroke, font, grid: { show: false }, ticks: { show: false }, space: 70, size: 28, values: (u, splits) => splits.map(label_) },
      { stroke, font, grid, ticks: { show: false }, size: 42, space: 44, values: (u, splits) => splits.map((value) => `${round(value)}${unit}`) },
    ];
  }

  function clock(seconds) {
    return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  }

  function round(value) {
    return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toFixed(2));
  }

  /* A chart that fits its box, and is drawn anew when the theme changes. */
  function chart(box, options, data) {
    let plot = null;
    let current = data;
    const draw = () => {
      plot?.destroy();
      const size = { width: box.clientWidth, height: box.clientHeight };
      plot = new uPlot({ ...options(), ...size, padding: [10, 28, 0, 0], legend: { show: false } }, current, box);
    };
    draw();
    new ResizeObserver(() => {
      if (box.clientWidth && (box.clientWidth !== plot.width || box.clientHeight !== plot.height)) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
    }).observe(box);
    new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
    const update = (next) => {
      current = next;
      plot.setData(next);
    };
    return Object.assign(update, { plot: () => plot });
  }

  // --- heartbeats ----------------------------------------------------------------------------------------------------

  function series(frame) {
    const now = Date.parse(frame.timestamp) / 1000;
    const rates = new Map(frame.heartbeats || []);
    const last = Math.floor(now / BUCKET) * BUCKET - BUCKET; // the bucket before the one that still fills
    const xs = [];
    const ys = [];
    const oldest = Math.min(...rates.keys(), last - LEAST);
    for (let start = Math.max(oldest, last - WINDOW) + BUCKET; start <= last; start += BUCKET) {
      xs.push(start);
      ys.push(rates.get(start) || 0);
    }
    return [xs, ys];
  }

  function heartbeats(box) {
    const options = () => {
      const isDark = document.documentElement.classList.contains("dark");
      const stroke = isDark ? "#818cf8" : "#4f46e5";
      return {
        cursor: { y: false },
        axes: axes(""),
        scales: { x: { time: true, range: (u, low, high) => [low - BUCKET / 2, high + BUCKET / 2] }, y: { range: (u, low, high) => [0, Math.max(high * 1.2, 0.4)] } },
        series: [
          {},
          { stroke, width: 0, fill: isDark ? "rgba(129,140,248,.85)" : "rgba(79,70,229,.8)", paths: uPlot.paths.bars({ size: [0.72, 14], radius: 0.25 }), points: { show: false } },
        ],
      };
    };
    let update = null;
    document.addEventListener("moolai:fleet", ({ detail }) => {
      const data = series(detail);
      if (update) update(data);
      else update = chart(box, options, data);
      const recent = data[1].slice(-12);
      const rate = recent.reduce((sum, value) => sum + value, 0) / recent.length;
      for (const element of document.querySelectorAll("[data-heartbeat-rate]")) element.textContent = round(rate).toFixed(2);
    });
  }

  window.moolaiCharts = { axes, chart, round };

  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll("[data-chart=heartbeats]")) heartbeats(box);
  });
})();
