/* The playground: calls /v1/chat/completions as any client does (conversation.js has the page's other half).
 *
 * Cost and tokens are the ledger's, read when the call has been counted.
 */
(() => {
  "use strict";

  const { conversation, pieces } = window.moolaiConversation;
  const root = document.querySelector("[data-playground]");
  if (!root) return; // there is no organization yet: the page says what to do
  const $ = (selector) => root.querySelector(selector);
  const fields = { organization: $("#play-organization"), model: $("#play-model"), system: $("#play-system"), temperature: $("#play-temperature"), max: $("#play-max"), stream: $("#play-stream") };
  const LOOKS_MS = [300, 500, 700, 1000, 1500, 2000, 3000]; // the ledger is written about once a second
  const talk = conversation(root, { onAsk: ask, onClear: code });
  let language = "curl";

  async function headers() {
    if (!fields.organization.value.trim()) throw new Error("Choose an organization.");
    const found = { Authorization: `Bearer ${await talk.credential()}`, "Content-Type": "application/json" };
    found["X-Organization-Id"] = fields.organization.value.trim();
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

  function system() {
    return fields.system.value.trim() ? [{ role: "system", content: fields.system.value }] : [];
  }

  async function ask(text) {
    const told = { text: "", beganAt: performance.now(), firstMs: null, usage: null, provider: "", call: "" };
    const messages = [...system(), ...talk.history, { role: "user", content: text }];
    const answer = await talk.ask(text, fields.model.value, async (found, signal) => {
      const request = { method: "POST", headers: await headers(), body: JSON.stringify(body(messages)), credentials: "omit", signal };
      await read(await fetch("/v1/chat/completions", request), told, found);
      return told.text;
    });
    code();
    if (told.call) outcome(answer, told);
  }

  async function read(response, told, answer) {
    told.provider = response.headers.get("x-moolai-provider") || "";
    told.call = response.headers.get("x-moolai-call-id") || ""; // none where it was refused before it was a call
    if (!response.ok) throw new Error((await problem(response)) || `The gateway answered ${response.status}.`);
    if ((response.headers.get("content-type") || "").includes("event-stream")) await stream(response, told, answer);
    else whole(await response.json(), told, answer);
  }

  async function problem(response) {
    try {
      const { error } = await response.json();
      return error?.message ? `${response.status}: ${error.message}` : "";
    } catch {
      return "";
    }
  }

  function whole(found, told, answer) {
    told.firstMs = performance.now() - told.beganAt;
    told.usage = found.usage;
    told.text = found.choices[0]?.message?.content || "";
    answer.text.textContent = told.text;
  }

  async function stream(response, told, answer) {
    for await (const line of pieces(response, /\r?\n/)) if (line.startsWith("data:")) take(line.slice(5).trim(), told, answer);
  }

  function take(text, told, answer) {
    if (text === "[DONE]") return;
    const chunk = JSON.parse(text);
    if (chunk.error) throw new Error(chunk.error.message || "The stream broke.");
    if (chunk.usage) told.usage = chunk.usage;
    const piece = chunk.choices?.[0]?.delta?.content;
    if (!piece) return;
    told.firstMs ??= performance.now() - told.beganAt;
    told.text += piece;
    talk.append(answer, piece);
  }

  // --- what it came to -----------------------------------------------------------------------------------------------

  async function outcome(answer, told) {
    const first = told.firstMs !== null && `first token ${Math.round(told.firstMs)} ms`;
    talk.tell(answer, [told.provider, told.usage && `${told.usage.prompt_tokens} → ${told.usage.completion_tokens} tokens`, first]);
    for (const pause of LOOKS_MS) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      const found = await look(told.call);
      if (!found || found.status === "running") continue;
      const seen = told.firstMs !== null && `first token after ${Math.round(told.firstMs)} ms, ${found.first_token} at the gateway`;
      const facts = [found.provider && `${found.provider}/${found.model}`, `${found.input_tokens} → ${found.output_tokens} tokens`, found.cost, seen, `whole ${found.took}`, found.attempts > 1 && `${found.attempts} attempts`];
      talk.tell(answer, facts, { text: "in the call log", url: found.url });
      return;
    }
  }

  async function look(call) {
    try {
      const response = await fetch(`${root.dataset.outcomeUrl}?${new URLSearchParams({ call })}`, { credentials: "same-origin" });
      return response.ok && !response.redirected ? await response.json() : null;
    } catch {
      return null;
    }
  }

  // --- the same call in code -----------------------------------------------------------------------------------------

  function code() {
    const text = talk.message.value || talk.history.filter(({ role }) => role === "user").at(-1)?.content || "hello";
    const asked = body([...system(), { role: "user", content: text }]);
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
