/* The task board: arrow keys go from card to card, and what it is narrowed to is applied when it is chosen. */
(() => {
  "use strict";

  function cards(column) {
    return [...column.querySelectorAll(".tk-card")].filter((card) => card.offsetParent); // a narrow screen shows the first ones
  }

  function beside(column, step) {
    for (let next = column; next; ) {
      next = step > 0 ? next.nextElementSibling : next.previousElementSibling;
      if (next && cards(next).length) return next;
    }
    return null;
  }

  function target(card, key) {
    const column = card.closest("[data-column]");
    const own = cards(column);
    const place = own.indexOf(card);
    if (key === "ArrowDown") return own[place + 1];
    if (key === "ArrowUp") return own[place - 1];
    if (key === "Home") return own[0];
    if (key === "End") return own[own.length - 1];
    const other = key === "ArrowRight" ? beside(column, 1) : key === "ArrowLeft" ? beside(column, -1) : null;
    return other ? cards(other)[Math.min(place, cards(other).length - 1)] : null;
  }

  document.addEventListener("keydown", (event) => {
    const card = event.target.closest?.(".tk-card");
    const next = card && !event.ctrlKey && !event.metaKey && !event.altKey ? target(card, event.key) : null;
    if (!next) return;
    event.preventDefault();
    next.focus();
  });

  document.addEventListener("change", (event) => event.target.closest?.("[data-board-filter]")?.requestSubmit());
})();
