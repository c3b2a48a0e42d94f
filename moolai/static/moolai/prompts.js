/* Ask an agent: POST …/prompts as any client does, and its stream (conversation.js has the page's other half).
 *
 * What was said before goes along as the prompt's context. Cost and tokens are those of the answer, which are the
 * ledger's.
 */
(() => {
  "use strict";

  const { conversation, pieces } = window.moolaiConversation;
  const root = document.querySelector("[data-prompts]");
  if (!root) return; // there is no organization yet: the page says what to do
  const $ = (selector) => root.querySelector(selector);
  const fields = { organization: $("#ask-organization"), agent: $("#ask-agent"), model: $("#ask-model"), stream: $("#ask-stream") };
  const talk = conversation(root, { onAsk: ask });

  async function call(path, options = {}) {
    if (!fields.organization.value.trim()) throw new Error("Choose an organization.");
    const headers = { Authorization: `Bearer ${await talk.credential()}`, "Content-Type": "application/json" };
    const place = `/api/v1/orchestrators/${encodeURIComponent(fields.organization.value.trim())}`;
    const answer = await fetch(`${place}/${path}`, { headers, credentials: "omit", ...options });
    if (!answer.ok) throw new Error(await problem(answer));
    return answer;
  }

  async function problem(answer) {
    try {
      const body = await answer.json();
      return `${answer.status}: ${[body.detail, ...Object.values(body.fields || {})].join(" ")}`;
    } catch {
      return `The server answered ${answer.status}.`;
    }
  }

  async function offer() {
    const note = $("[data-agent-note]");
    fields.agent.length = 1;
    try {
      const { data } = await (await call("agents?page_size=1000")).json();
      const usable = data.items.filter(({ status }) => status === "active");
      for (const agent of usable) fields.agent.add(new Option(agent.name === agent.agent_id ? agent.name : `${agent.name} (${agent.agent_id})`, agent.agent_id));
      note.textContent = usable.length ? "Its model, system prompt and parameters are taken." : "There are no agents yet.";
    } catch (failure) {
      note.textContent = failure.message;
    }
  }

  // --- asking --------------------------------------------------------------------------------------------------------

  function body(text) {
    const found = { prompt: text };
    if (fields.agent.value) found.agent_id = fields.agent.value;
    if (fields.model.value.trim()) found.model = fields.model.value.trim();
    if (talk.history.length) found.context = talk.history;
    if (fields.stream.checked) found.stream = true;
    return found;
  }

  function ask(text) {
    const name = fields.agent.value ? fields.agent.selectedOptions[0].textContent : fields.model.value || "Model";
    talk.ask(text, name, async (answer, signal) => {
      const { data } = await (await call("prompts", { method: "POST", body: JSON.stringify(body(text)), signal })).json();
      return data.status === "pending" ? follow(await call(`prompts/${data.prompt_id}/stream`, { signal }), answer) : whole(data, answer);
    });
  }

  function whole(data, answer) {
    answer.text.textContent = data.response;
    tell(answer, data);
    return data.response;
  }

  async function follow(response, answer) {
    const heard = { text: "", isDone: false };
    for await (const event of pieces(response, "\n\n")) take(event, heard, answer);
    if (!heard.isDone) throw new Error("The stream broke.");
    return heard.text;
  }

  function take(event, heard, answer) {
    const lines = Object.fromEntries(event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
    if (!lines.event) return; // a comment
    const data = JSON.parse(lines.data);
    if (lines.event === "token") {
      heard.text += data.text;
      talk.append(answer, data.text);
    } else if (lines.event === "done") {
      heard.isDone = true;
      tell(answer, data);
    } else if (lines.event === "error") {
      tell(answer, data);
      throw new Error(data.detail);
    }
  }

  function tell(answer, data) {
    const facts = [data.provider && `${data.provider}/${data.model}`, `${data.tokens_used} tokens`, `$${(data.cost || 0).toFixed(6)}`, data.latency_ms !== null && `${Math.round(data.latency_ms)} ms`, data.is_cached && "cached"];
    talk.tell(answer, facts, { text: "in the list", url: `${root.dataset.listUrl}?q=${encodeURIComponent(data.prompt_id)}` });
  }

  fields.organization.addEventListener("change", () => { talk.history = []; offer(); });
  fields.agent.addEventListener("change", () => { talk.history = []; });
  offer();
})();
