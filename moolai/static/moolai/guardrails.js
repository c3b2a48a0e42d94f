/* The form of guardrails: has a text looked at by the rules as they stand in the form, without saving them. */
(() => {
  "use strict";

  const box = document.querySelector("[data-try]");
  if (!box) return;
  const [text, go, told] = ["[data-try-text]", "[data-try-go]", "[data-try-told]"].map((name) => box.querySelector(name));

  function line(side, said) {
    const what = said.blocked ? `refused by “${said.blocked}”` : said.text;
    const value = Object.assign(document.createElement("dd"), { textContent: what, className: said.blocked ? "gw-problem" : "" });
    return [Object.assign(document.createElement("dt"), { textContent: side }), value];
  }

  async function look() {
    const sent = new FormData(box.closest("form"));
    sent.set("text", text.value);
    const headers = { Accept: "application/json" };
    try {
      const answer = await fetch(box.dataset.try, { method: "POST", body: sent, headers, credentials: "same-origin" });
      if (answer.redirected || !answer.headers.get("content-type")?.includes("json")) throw new Error("You are signed out: reload the page and sign in.");
      const found = await answer.json();
      if (!answer.ok) throw new Error(Object.values(found.fields || {}).join(" ") || found.detail);
      told.replaceChildren(...line("As a request", found.request), ...line("As an answer", found.answer));
    } catch (problem) {
      told.replaceChildren(Object.assign(document.createElement("dd"), { textContent: problem.message, className: "gw-problem" }));
    }
  }

  go.addEventListener("click", look);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) look();
  });
  box.hidden = false;
})();
