/* The configuration editor: Tab indents (Escape, then Tab leaves), problems lead to their lines, stages show when wanted. */
(() => {
  "use strict";

  const text = document.querySelector("textarea[data-editor]");
  let mayLeave = false;

  function insert(piece) {
    const [start, end] = [text.selectionStart, text.selectionEnd];
    if (!document.execCommand("insertText", false, piece)) text.setRangeText(piece, start, end, "end"); // keeps undo
  }

  function onKey(event) {
    if (event.key === "Escape") {
      mayLeave = true;
      return;
    }
    if (event.key === "Tab" && !mayLeave && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      insert("  ");
    }
    if (event.key === "Enter" && !event.isComposing) {
      const before = text.value.slice(0, text.selectionStart);
      const indent = /[^\n]*$/.exec(before)[0].match(/^ */)[0];
      event.preventDefault();
      insert(`\n${indent}${/[[{]\s*$/.test(before) ? "  " : ""}`);
    }
    if (event.key !== "Shift") mayLeave = false;
  }

  function select(line) {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, row) => sum + row.length + 1, 0);
    text.focus();
    text.setSelectionRange(start, start + (lines[line - 1] || "").length);
    text.scrollTop = Math.max(0, (line - 4) * parseFloat(getComputedStyle(text).lineHeight));
  }

  function showStages() {
    const isStaged = document.querySelector("input[name=how]:checked")?.value === "stages";
    for (const box of document.querySelectorAll("[data-when=stages]")) box.hidden = !isStaged;
    for (const words of document.querySelectorAll("[data-words]")) words.textContent = words.dataset.words.split("|")[Number(isStaged)];
  }

  text?.addEventListener("keydown", onKey);
  document.addEventListener("click", (event) => {
    const line = event.target.closest?.("[data-line]");
    if (line) select(Number(line.dataset.line));
  });
  document.addEventListener("change", showStages);
  showStages();
})();
