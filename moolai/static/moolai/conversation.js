/* A conversation on a page, over the API as any client has it: the credential, the bubbles, and the form below them.
 *
 * The API takes no cookie: the access token comes from a POST with the CSRF token, stays in this page's memory, and is
 * asked for anew a minute before it ends. Before a page's own script; both have `defer`.
 */
(() => {
  "use strict";

  const EARLY_MS = 60000;
  const NEAR_PX = 40; // who reads further up is left there

  function credential(root) {
    let token = null; // {text, endsAt}
    return async () => {
      if (token && Date.now() < token.endsAt - EARLY_MS) return token.text;
      const headers = { "X-CSRFToken": root.querySelector("input[name=csrfmiddlewaretoken]").value };
      const answer = await fetch(root.dataset.tokenUrl, { method: "POST", headers, credentials: "same-origin" });
      if (!answer.ok || answer.redirected) throw new Error("You are signed out: reload the page and sign in.");
      const pair = await answer.json();
      token = { text: pair.access_token, endsAt: Date.now() + pair.expires_in * 1000 };
      return token.text;
    };
  }

  /* What stands between separators in a streamed answer, piece by piece; an unfinished last piece is left out. */
  async function* pieces(response, separator) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const found = (rest + value).split(separator);
      rest = found.pop();
      yield* found;
    }
  }

  function element(tag, name, text = "") {
    return Object.assign(document.createElement(tag), { className: name, textContent: text });
  }

  /* `onAsk(text)` is what the form does, `onClear()` what else is cleared. `history` is what was said, as the API has it. */
  function conversation(root, { onAsk, onClear = () => {} }) {
    const $ = (selector) => root.querySelector(selector);
    const [talk, form, stop, message] = ["[data-talk]", "[data-compose]", "[data-stop]", "[data-compose] textarea"].map($);
    let running = null; // AbortController
    const held = { history: [], message, credential: credential(root), ask, append, tell };

    function below() {
      talk.scrollTop = talk.scrollHeight;
    }

    function bubble(role, name) {
      $("[data-talk-empty]")?.remove();
      const box = element("div", `gw-bubble gw-bubble-${role}`);
      const [who, text, facts] = [element("b", "", name), element("div", "gw-said"), element("small", "gw-below")];
      box.append(who, text, facts);
      talk.append(box);
      below();
      return { box, text, facts };
    }

    function append({ text }, piece) {
      const isBelow = talk.scrollHeight - talk.scrollTop - talk.clientHeight < NEAR_PX;
      text.append(piece);
      if (isBelow) below();
    }

    function tell({ facts }, told, link = null) {
      facts.textContent = told.filter(Boolean).join(" · ");
      if (link) facts.append(" · ", Object.assign(element("a", "mo-link", link.text), { href: link.url }));
      below();
    }

    function note({ box, facts }, text) {
      const line = element("p", "gw-problem", text);
      line.setAttribute("role", "alert");
      box.insertBefore(line, facts);
    }

    function toggle(isRunning) {
      $("[data-send]").disabled = isRunning;
      stop.hidden = !isRunning;
      if (!isRunning && document.activeElement === document.body) message.focus();
    }

    /* Say `text` and show the answer of whoever is called `name`: `reply(answer, signal)` fills it and returns its text. */
    async function ask(text, name, reply) {
      bubble("user", "You").text.textContent = text;
      const answer = bubble("assistant", name);
      answer.box.dataset.state = "running";
      message.value = "";
      running = new AbortController();
      toggle(true);
      try {
        const said = await reply(answer, running.signal);
        answer.box.dataset.state = "done";
        held.history = [...held.history, { role: "user", content: text }, { role: "assistant", content: said }];
      } catch (failure) {
        const isStopped = failure.name === "AbortError";
        answer.box.dataset.state = isStopped ? "stopped" : "failed";
        note(answer, isStopped ? "Stopped; what was produced is billed." : failure.message);
        if (!isStopped) message.value = message.value || text;
      } finally {
        running = null;
        toggle(false);
      }
      return answer;
    }

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = message.value.trim();
      if (text && !running) onAsk(text);
    });
    message.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    root.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.abort(); });
    stop.addEventListener("click", () => running?.abort());
    $("[data-clear]").addEventListener("click", () => {
      running?.abort();
      held.history = [];
      talk.textContent = "";
      message.focus();
      onClear();
    });
    return held;
  }

  window.moolaiConversation = { conversation, pieces };
})();
