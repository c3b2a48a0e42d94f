// The browsable API's forms: sent as a program would send them, with the session's CSRF token; the answer is shown below.
"use strict";

const token = document.querySelector("meta[name=csrf-token]").content;

for (const form of document.querySelectorAll("form.write")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const method = form.dataset.method;
    if (method === "DELETE" && !confirm(`DELETE ${form.getAttribute("action")}?`)) return;
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      show(form, await send(form, method));
    } catch (error) {
      show(form, { title: "No answer: is the server there?", text: String(error), isGood: false });
    } finally {
      button.disabled = false;
    }
  });
}

async function send(form, method) {
  const headers = { Accept: "application/json", "X-CSRFToken": token };
  const body = form.elements.body ? form.elements.body.value : undefined;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(form.getAttribute("action"), { method, headers, body, credentials: "same-origin" });
  const text = await answer.text();
  return { title: `${answer.status} ${answer.statusText}`.trim(), text: pretty(text), isGood: answer.ok };
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function show(form, { title, text, isGood }) {
  const outcome = form.querySelector(".outcome");
  outcome.classList.toggle("is-bad", !isGood);
  outcome.querySelector("b").textContent = title;
  outcome.querySelector("pre").textContent = text;
  outcome.querySelector("pre").hidden = !text;
  outcome.hidden = false;
}

// An empty filter is no filter: it stays out of the address.
document.querySelector("form.filters")?.addEventListener("submit", (event) => {
  for (const field of event.target.elements) field.disabled = field.name !== "" && field.value === "";
});
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form.filters [name]")) field.disabled = false;
});
