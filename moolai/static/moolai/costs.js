/* The charts of the page “Costs”: stacked bars by hour or day, from the numbers in the page. */
(() => {
  "use strict";

  const COLOURS = ["#6366f1", "#0ea5e9", "#d97706", "#16a34a", "#db2777", "#7c3aed", "#94a3b8"];
  const RED = "#dc2626";
  const source = document.getElementById("cost-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);

  const money = (value) => `$${value !== 0 && value < 0.1 ? value.toFixed(value < 0.001 ? 6 : 4) : value.toFixed(2)}`;
  const short = (value) => (value >= 1e6 ? `${+(value / 1e6).toFixed(1)}M` : value >= 1e4 ? `${Math.round(value / 1e3)}k` : value >= 1e3 ? `${+(value / 1e3).toFixed(1)}k` : String(+value.toFixed(2)));
  const kinds = {
    cost: { names: data.names, values: data.cost, colours: COLOURS, say: money, axis: (value) => (value >= 1000 ? `$${short(value)}` : `$${+value.toFixed(4)}`) },
    tokens: { names: ["Tokens"], values: [data.tokens], colours: ["#0ea5e9"], say: (value) => value.toLocaleString(), axis: short },
    calls: { names: ["Billed", "Failed"], values: [data.calls, data.failed], colours: ["#6366f1", RED], say: (value) => value.toLocaleString(), axis: short },
  };

  function day(seconds) {
    const moment = new Date(seconds * 1000);
    if (data.by === "hour") return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
    return moment.toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" });
  }

  /* Each line on top of the ones after it: the highest is drawn first. */
  function stacked(values) {
    const sums = values.map((line) => [...line]);
    for (let at = sums.length - 2; at >= 0; at -= 1) for (let place = 0; place < sums[at].length; place += 1) sums[at][place] += sums[at + 1][place];
    return sums;
  }

  function draw(figure) {
    const kind = kinds[figure.dataset.costChart];
    const box = figure.querySelector(".mo-chart");
    const labels = legend(figure.querySelector("[data-legend]"), kind);
    const say = (place) => labels.forEach((label, at) => {
      const line = kind.values[at];
      label.textContent = kind.say(place == null ? line.reduce((sum, value) => sum + value, 0) : line[place]);
    });
    const step = data.x.length > 1 ? data.x[1] - data.x[0] : 3600;
    moolaiCharts.chart(box, () => {
      const axes = moolaiCharts.axes("", day);
      axes[1].values = (plot, splits) => splits.map(kind.axis);
      axes[1].size = 52;
      return {
        axes,
        cursor: { y: false, points: { show: false } },
        scales: { x: { time: true, range: () => [data.x[0] - step * 0.6, data.x.at(-1) + step * 0.6] }, y: { range: (plot, low, high) => [0, (high || 0) * 1.12 || 1] } },
        series: [{}, ...kind.names.map((name, at) => ({ stroke: kind.colours[at % kind.colours.length], fill: kind.colours[at % kind.colours.length], width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.72, 46] }) }))],
        hooks: { setCursor: [(plot) => say(plot.cursor.idx)] },
      };
    }, [data.x, ...stacked(kind.values)]);
    say(null);
  }

  function legend(place, kind) {
    return kind.names.map((name, at) => {
      const part = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.background = kind.colours[at % kind.colours.length];
      const value = document.createElement("b");
      part.append(swatch, `${name} `, value);
      place.append(part);
      return value;
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const figure of document.querySelectorAll("[data-cost-chart]")) draw(figure);
  });
})();
