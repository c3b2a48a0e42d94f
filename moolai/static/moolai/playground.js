/* The playground: calls /v1/chat/completions as any client does, with an access token that the console hands out.
 *
 * The data plane takes no cookie: the token comes from a POST with the CSRF token, stays in this page's memory, and is
 * asked for anew a minute before it ends. Cost and tokens are the ledger's, read when the call has been counted.
 */
(() => {
  "use strict";

  const root = document.querySelector("[data-playground]");
  const $ = (selector) => root.querySelector(selector);
  const fields = { organization: $("#play-organization"), model: $("#play-model"), system: $("#play-system"), temperature: $("#play-temperature"), max: $("#play-max"), stream: $("#play-stream"), message: $("#play-message") };
  const [talk, send, stop, clear] = ["[data-talk]", "[data-send]", "[data-stop]", "[data-clear]"].map($);
  const LOOKS_MS = [300, 500, 700, 1000, 1500, 2000, 3000]; // the ledger is written about once a second
  const EARLY_MS = 60000;

  let token = null; // {text, endsAt}
  let history = []; // what was said, as the API has it
  let running = null; // AbortController
  let language = "curl";
  let lastCall = "";
  let asked = 0; // how often; an older answer looks for its call no further

  // --- the credential ------------------------------------------------------------------------------------------------

  async function credential() {
    if (token && Date.now() < token.endsAt - EARLY_MS) return token.text;
    const headers = { "X-CSRFToken": $("input[name=csrfmiddlewaretoken]").value };
    const answer = await fetch(root.dataset.tokenUrl, { method: "POST", headers, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error("You are signed out: reload the page and sign in.");
    const pair = await answer.json();
    token = { text: pair.access_token, endsAt: Date.now() + pair.expires_in * 1000 };
    return token.text;
  }

  async function headers() {
    const found = { Authorization: `Bearer ${await credential()}`, "Content-Type": "application/json" };
    if (fields.organization.value.trim()) found["X-Organization-Id"] = fields.organization.value.trim();
    return found;
  }

  // --- what may be asked for -----------------------------------------------------------------------------------------

  async function offer() {
    const [list, note] = [$("#play-models"), $("[data-models-note]")];
    list.textContent = "";
    try {
      const answer = await fetch("/v1/models", { headers: await headers(), credentials: "omit" });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error?.message);
      for (const model of body.data) list.append(Object.assign(document.createElement("option"), { value: model.id, textContent: model.owned_by }));
      note.textContent = body.data.length ? `${body.data.length} ${body.data.length === 1 ? "name is" : "names are"} listed; others may be called, too.` : "Nothing is listed; provider/model may be called.";
      if (!fields.model.value && body.data.length) fields.model.value = body.data[0].id;
      code();
    } catch (problem) {
      note.textContent = problem.message || "The models could not be read.";
    }
  }

  // --- the request ---------------------------------------------------------------------------------------------------

  function body(messages) {
    const found = { model: fields.model.value.trim(), messages };
    if (fields.temperature.value !== "") found.temperature = Number(fields.temperature.value);
    if (fields.max.value !== "") found.max_tokens = Number(fields.max.value);
    if (fields.stream.checked) Object.assign(found, { stream: true, stream_options: { include_usage: true } });
    return found;
  }

  function said(text) {
    const system = fields.system.value.trim() ? [{ role: "system", content: fields.system.value }] : [];
    return [...system, ...history, { role: "user", content: text }];
  }

  async function ask(text) {
    const messages = said(text);
    const mine = bubble("user");
    mine.text.textContent = text;
    const answer = bubble("assistant");
    answer.box.dataset.state = "running";
    fields.message.value = "";
    running = new AbortController();
    const number = (asked += 1);
    toggle(true);
    const beganAt = performance.now();
    const told = { text: "", firstMs: null, usage: null, provider: "", isRefused: false };
    try {
      const request = { method: "POST", headers: await headers(), body: JSON.stringify(body(messages)), credentials: "omit", signal: running.signal };
      const response = await fetch("/v1/chat/completions", request);
      told.provider = response.headers.get("x-moolai-provider") || "";
      told.isRefused = !response.ok && !told.provider; // before any provider was asked
      if (!response.ok) throw new Error((await problem(response)) || `The gateway answered ${response.status}.`);
      if ((response.headers.get("content-type") || "").includes("event-stream")) await stream(response, told, answer, beganAt);
      else whole(await response.json(), told, answer, beganAt);
      answer.box.dataset.state = "done";
      history = [...history, { role: "user", content: text }, { role: "assistant", content: told.text }];
    } catch (failure) {
      const isStopped = failure.name === "AbortError";
      answer.box.dataset.state = isStopped ? "stopped" : "failed";
      note(answer, isStopped ? "Stopped; what was produced is billed." : failure.message);
      if (!isStopped) fields.message.value = fields.message.value || text;
    } finally {
      running = null;
      toggle(false);
      code();
    }
    if (!told.isRefused) outcome(answer, told, beganAt, () => number === asked);
  }

  async function problem(response) {
    try {
      const { error } = await response.json();
      return error?.message ? `${response.status}: ${error.message}` : "";
    } catch {
      return "";
    }
  }

  function whole(found, told, answer, beganAt) {
    told.firstMs = performance.now() - beganAt;
    told.usage = found.usage;
    told.text = found.choices[0]?.message?.content || "";
    answer.text.textContent = told.text;
  }

  async function stream(response, told, answer, beganAt) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) take(line.slice(5).trim(), told, answer, beganAt);
    }
  }

  function take(text, told, answer, beganAt) {
    if (text === "[DONE]") return;
    const chunk = JSON.parse(text);
    if (chunk.error) throw new Error(chunk.error.message || "The stream broke.");
    if (chunk.usage) told.usage = chunk.usage;
    const piece = chunk.choices?.[0]?.delta?.content;
    if (!piece) return;
    told.firstMs ??= performance.now() - beganAt;
    told.text += piece;
    const isBelow = talk.scrollHeight - talk.scrollTop - talk.clientHeight < 40;
    answer.text.append(piece);
    if (isBelow) talk.scrollTop = talk.scrollHeight;
  }

  // --- what it came to -----------------------------------------------------------------------------------------------

  async function outcome(answer, told, beganAt, isNewest) {
    const facts = [];
    if (told.provider) facts.push(told.provider);
    if (told.usage) facts.push(`${told.usage.prompt_tokens} → ${told.usage.completion_tokens} tokens`);
    if (told.firstMs !== null) facts.push(`first token ${Math.round(told.firstMs)} ms`);
    show(answer, facts);
    for (const pause of LOOKS_MS) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (!isNewest()) return;
      const found = await look(beganAt);
      if (!found || found.status === "running" || found.url === lastCall) continue;
      lastCall = found.url;
      const seen = told.firstMs !== null && `first token after ${Math.round(told.firstMs)} ms, ${found.first_token} at the gateway`;
      show(answer, [found.provider && `${found.provider}/${found.model}`, `${found.input_tokens} → ${found.output_tokens} tokens`, found.cost, seen, `whole ${found.took}`, found.attempts > 1 && `${found.attempts} attempts`].filter(Boolean), found.url);
      return;
    }
  }

  async function look(beganAt) {
    const query = new URLSearchParams({ organization: fields.organization.value.trim(), ms: String(Math.round(performance.now() - beganAt)) });
    try {
      const response = await fetch(`${root.dataset.outcomeUrl}?${query}`, { credentials: "same-origin" });
      return response.ok && !response.redirected ? await response.json() : null;
    } catch {
      return null;
    }
  }

  // --- the page ------------------------------------------------------------------------------------------------------

  function element(tag, name, text = "") {
    return Object.assign(document.createElement(tag), { className: name, textContent: text });
  }

  function bubble(role) {
    $("[data-talk-empty]")?.remove();
    const box = element("div", `gw-bubble gw-bubble-${role}`);
    const [who, text, below] = [element("b", "", role === "user" ? "You" : fields.model.value), element("div", "gw-said"), element("small", "gw-below")];
    box.append(who, text, below);
    talk.append(box);
    talk.scrollTop = talk.scrollHeight;
    return { box, text, below };
  }

  function show({ below }, facts, url = "") {
    below.textContent = facts.join(" · ");
    if (url) below.append(" · ", Object.assign(element("a", "mo-link", "in the call log"), { href: url }));
    talk.scrollTop = talk.scrollHeight;
  }

  function note({ box, below }, text) {
    const line = element("p", "gw-problem", text);
    line.setAttribute("role", "alert");
    box.insertBefore(line, below);
  }

  function toggle(isRunning) {
    send.disabled = isRunning;
    stop.hidden = !isRunning;
    if (!isRunning && document.activeElement === document.body) fields.message.focus();
  }

  function code() {
    const text = fields.message.value || history.filter(({ role }) => role === "user").at(-1)?.content || "hello";
    const asked = body([...(fields.system.value.trim() ? [{ role: "system", content: fields.system.value }] : []), { role: "user", content: text }]);
    $("#play-code").textContent = language === "curl" ? curl(asked) : python(asked);
  }

  function curl(asked) {
    const json = JSON.stringify(asked, null, 2).replaceAll("'", "'\\''");
    return `curl ${asked.stream ? "-N " : ""}${root.dataset.origin}/v1/chat/completions \\\n  -H "Authorization: Bearer $MOOLAI_API_KEY" -H "Content-Type: application/json" \\\n  -d '${json}'`;
  }

  function python(asked) {
    const lines = Object.entries(asked).filter(([name]) => name !== "stream_options").map(([name, value]) => `    ${name}=${literal(value)},`);
    const after = asked.stream ? 'for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)' : "print(answer.choices[0].message.content)";
    return `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${root.dataset.origin}/v1", api_key=os.environ["MOOLAI_API_KEY"])\nanswer = client.chat.completions.create(\n${lines.join("\n")}\n)\n${after}`;
  }

  function literal(value) {
    if (value === true) return "True";
    if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
    if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
    return JSON.stringify(value);
  }

  root.addEventListener("input", code);
  fields.organization.addEventListener("change", offer);
  $("[data-compose]").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = fields.message.value.trim();
    if (text && !running) ask(text);
  });
  fields.message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("[data-compose]").requestSubmit();
  });
  root.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.abort(); });
  stop.addEventListener("click", () => running?.abort());
  clear.addEventListener("click", () => {
    running?.abort();
    history = [];
    talk.textContent = "";
    fields.message.focus();
    code();
  });
  for (const button of root.querySelectorAll("[data-code-tab]")) {
    button.addEventListener("click", () => {
      language = button.dataset.codeTab;
      for (const other of root.querySelectorAll("[data-code-tab]")) other.setAttribute("aria-pressed", String(other === button));
      code();
    });
  }
  code();
  offer();
})();
