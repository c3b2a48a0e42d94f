/* The gateway's pages: the call log shows new calls by itself; targets of an alias are added and moved.
 *
 * The log asks every two seconds whether the newest calls differ, and only then reads its own page anew, with the filters
 * it has. It holds still on later pages, while rows are chosen, while somebody says so, and while nobody looks.
 */
(() => {
  "use strict";

  const LOOK_MS = 2000;

  // --- the call log --------------------------------------------------------------------------------------------------

  function log(bar) {
    const [live, pause] = [bar.querySelector("[data-call-live]"), bar.querySelector("[data-call-pause]")];
    const isFirst = !new URLSearchParams(location.search).get("p");
    let { mark } = bar.dataset;
    let isHeld = !isFirst;
    let isBusy = false;

    const indicate = (state, text) => {
      live.dataset.state = state;
      live.firstElementChild.textContent = text;
    };

    const look = async () => {
      if (isHeld || isBusy || document.hidden) return;
      isBusy = true;
      try {
        const answer = await fetch(bar.dataset.callLog, { credentials: "same-origin", cache: "no-store" });
        if (answer.redirected || !answer.ok) throw new Error("no answer");
        const found = (await answer.json()).mark;
        if (found !== mark && (await renew())) mark = found;
        if (!isHeld) indicate("live", "Live");
      } catch {
        indicate("lost", "Reconnecting…");
      } finally {
        isBusy = false;
      }
    };

    const renew = async () => {
      const answer = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
      if (!answer.ok || answer.redirected || isHeld) return false;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const [ours, theirs] = [document.querySelector("#changelist-form"), page.querySelector("#changelist-form")];
      const [list, next] = [ours.querySelector("#result_list"), theirs.querySelector("#result_list")];
      if (!next) return true;
      if (!list) {
        location.reload(); // the first call there is
        return true;
      }
      const known = new Set([...list.querySelectorAll("tbody a[href]")].map((link) => link.getAttribute("href")));
      const focused = document.activeElement?.getAttribute?.("href");
      for (const body of list.querySelectorAll("tbody")) body.remove();
      for (const body of next.querySelectorAll("tbody")) {
        const link = body.querySelector("a[href]");
        if (link && !known.has(link.getAttribute("href"))) body.classList.add("gw-new");
        list.append(document.adoptNode(body));
      }
      if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
      return true;
    };

    pause.addEventListener("click", () => {
      isHeld = !isHeld;
      pause.setAttribute("aria-pressed", String(isHeld));
      if (isHeld) indicate("out", "Held");
      else look();
    });
    if (isFirst) indicate("live", "Live");
    else {
      pause.hidden = true;
      indicate("out", "Older calls");
    }
    setInterval(look, LOOK_MS);
  }

  // --- targets of an alias -------------------------------------------------------------------------------------------

  function targets(box) {
    const add = box.querySelector("[data-target-add]");
    const rows = () => [...box.querySelectorAll("[data-target]")];
    const number = () => {
      rows().forEach((row, index) => {
        const [model, weight, up] = row.children;
        model.setAttribute("aria-label", `Model of target ${index + 1}`);
        weight.setAttribute("aria-label", `Weight of target ${index + 1}`);
        up.setAttribute("aria-label", `Move target ${index + 1} up`);
        up.hidden = index === 0;
      });
      add.hidden = rows().length >= Number(box.dataset.most);
    };
    add.addEventListener("click", () => {
      const row = rows().at(-1).cloneNode(true);
      for (const input of row.querySelectorAll("input")) input.value = "";
      add.before(row);
      number();
      row.querySelector("input").focus();
    });
    box.addEventListener("click", ({ target }) => {
      if (!target.matches("[data-target-up]")) return;
      const row = target.closest("[data-target]");
      row.previousElementSibling?.before(row);
      number();
      row.querySelector("input").focus();
    });
    number();
  }

  for (const bar of document.querySelectorAll("[data-call-log]")) log(bar);
  for (const box of document.querySelectorAll("[data-targets]")) targets(box);
})();
