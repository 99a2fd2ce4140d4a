/* Review without a server: each decision is an entry of an append-only history, kept by the browser under the hashes of
   the graph and of the answers, and saved as decisions.json. An undo is an entry too: nothing is removed.

   review.start(choose)            once; `choose(at)` opens a cell set
   review.panel(set, at, word)     the card of one cell set */
"use strict";
const review = document.getElementById("review-data") === null ? null : (() => {
  const { terms, ...head } = page.data("review-data");
  const { el } = page;
  const place = `gather-decisions:${head.graph}:${head.answers}`;
  const shown = page.data("report").sets;
  const position = new Map(head.cell_sets.slice(0, shown).map((name, at) => [name, at]));
  const byId = (id) => document.getElementById(id);
  const MATCHES = 12, CANDIDATES = 9;
  const bdi = (text) => el("bdi", {}, text);
  let history = [], opened = null, choose = () => {};

  // --- the history -------------------------------------------------------------------------------------------
  const isEvent = (e) => e !== null && typeof e === "object" && /^[0-9a-f]{16}$/.test(e.id) && position.has(e.cell_set)
    && ["accept", "choose", "comment", "undo"].includes(e.action)
    && ["date", "reviewer", "label", "curie", "reason", "undoes"].every((name) => typeof e[name] === "string");

  function complain(text) {
    byId("review-problem").textContent = text;
    byId("review-problem").hidden = !text;
  }

  function stored() {
    let text = null;
    try {
      text = localStorage.getItem(place);
      const events = JSON.parse(text ?? "[]");
      if (Array.isArray(events) && events.every(isEvent)) return events;
    } catch (error) {
      if (!(error instanceof SyntaxError)) {
        complain("This browser keeps no decisions of this page: save decisions.json before you close it.");
        return [];
      }
    }
    localStorage.setItem(`${place}:unreadable`, text);
    localStorage.removeItem(place);
    complain("The decisions that this browser kept could not be read; the review begins anew.");
    return [];
  }

  function keep() {  // two tabs of one page add to one history
    const known = new Set(history.map((e) => e.id));
    history = [...stored().filter((e) => !known.has(e.id)), ...history].sort((a, b) => (`${a.date}${a.id}` < `${b.date}${b.id}` ? -1 : 1));
    try {
      localStorage.setItem(place, JSON.stringify(history));
    } catch {
      complain("This browser keeps no decisions of this page: save decisions.json before you close it.");
    }
  }

  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const clean = (text, most) => text.toWellFormed().replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "").slice(0, most).toWellFormed().trim();
  const withdrawn = () => new Set(history.filter((e) => e.action === "undo").map((e) => e.undoes));
  const ofSet = (name) => { const gone = withdrawn(); return history.filter((e) => e.cell_set === name && e.action !== "undo" && !gone.has(e.id)); };
  const decides = (e) => e.action === "accept" || e.action === "choose";

  function standing() {
    const gone = withdrawn(), decided = new Map();
    for (const e of history) if (decides(e) && !gone.has(e.id)) decided.set(e.cell_set, e);
    return decided;
  }

  function add(cellSet, action, label, curie, reason, undoes = "") {
    const reviewer = clean(byId("reviewer").value, 200);
    if (!reviewer) {
      complain("Give the name of the reviewer first: it stands beside each decision.");
      byId("reviewer").focus();
      return false;
    }
    complain("");
    const last = history.length ? history[history.length - 1].date : "";
    const now = new Date(Math.max(Date.now(), last ? Date.parse(last) + 1 : 0)).toISOString();
    history.push({ id: newId(), date: now, reviewer, cell_set: cellSet, action, label, curie, reason: clean(reason, 2000), undoes });
    keep();
    show();
    return true;
  }

  function undo() {
    const gone = withdrawn();
    const last = history.filter((e) => e.action !== "undo" && !gone.has(e.id)).pop();
    if (last && add(last.cell_set, "undo", "", "", "", last.id)) choose(position.get(last.cell_set));
  }

  // --- what is shown -----------------------------------------------------------------------------------------
  function show() {
    const decided = standing();
    for (const [name, at] of position) {
      const e = decided.get(name), cell = byId(`review-${at}`);
      const text = !e ? "open" : e.action === "accept" ? "accepted" : `changed: ${e.label}`;
      if (cell.textContent !== text) cell.replaceChildren(bdi(text));
    }
    byId("review-progress").textContent = `${decided.size.toLocaleString("en")} of ${position.size.toLocaleString("en")} reviewed`;
    const gone = withdrawn();
    byId("review-undo").disabled = !history.some((e) => e.action !== "undo" && !gone.has(e.id));
    byId("review-next").disabled = decided.size === position.size;
  }

  function nextOpen(from) {  // in the order of the table as it is sorted now
    const decided = standing();
    const order = Array.from(byId("table").tBodies[0].rows, (row) => Number(row.id.slice(4)));
    const start = order.indexOf(from) + 1;
    return [...order.slice(start), ...order.slice(0, start)].find((at) => !decided.has(head.cell_sets[at]));
  }

  function decide(action, label, curie) {
    if (!add(opened.set.cell_set, action, label, curie, opened.reason.value)) return;
    const next = nextOpen(opened.at);
    choose(next === undefined ? opened.at : next);
  }

  function comment() {
    if (!opened.reason.value.trim()) opened.reason.focus();
    else if (add(opened.set.cell_set, "comment", "", "", opened.reason.value)) choose(opened.at);
  }

  function save() {
    const title = document.querySelector("h1").textContent;
    const text = `${JSON.stringify({ ...head, title, history }, null, 1)}\n`;
    const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: "decisions.json" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // --- the search in the Cell Ontology -----------------------------------------------------------------------
  const folded = terms.map((entry) => entry.map((text) => text.toLowerCase()));
  function matches(query) {
    const wanted = query.toLowerCase().trim(), typed = wanted.split(/\s+/).filter(Boolean);
    if (!typed.length) return [];
    const ranked = [];
    folded.forEach((texts, i) => {
      let best = 9;
      texts.forEach((text, j) => {
        if (!typed.every((part) => text.includes(part))) return;
        best = Math.min(best, (text === wanted ? 0 : text.startsWith(wanted) ? 2 : 4) + (j > 1 ? 1 : 0));
      });
      if (best < 9) ranked.push([best, terms[i][1].length, i]);
    });
    return ranked.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]).slice(0, MATCHES).map(([, , i]) => terms[i]);
  }

  function search() {
    let hits = [], active = -1;
    const list = el("ul", { id: "review-matches", class: "matches", role: "listbox", "aria-label": "Cell types found", hidden: true });
    const input = el("input", { type: "text", id: "review-search", role: "combobox", autocomplete: "off", "aria-expanded": "false", "aria-controls": "review-matches", "aria-autocomplete": "list", maxlength: "100" });
    const mark = (to) => {
      active = to;
      Array.from(list.children).forEach((item, i) => item.setAttribute("aria-selected", String(i === active)));
      if (active < 0) input.removeAttribute("aria-activedescendant");
      else {
        input.setAttribute("aria-activedescendant", list.children[active].id);
        list.children[active].scrollIntoView({ block: "nearest" });
      }
    };
    const fill = (query) => {
      hits = matches(query);
      list.replaceChildren(...hits.map(([id, label], i) => el("li", { role: "option", id: `review-match-${i}`, "aria-selected": "false",
        onmousedown: (event) => { event.preventDefault(); decide("choose", label, id); } }, bdi(label), " ", el("span", { class: "mono small" }, id))));
      list.hidden = !hits.length;
      input.setAttribute("aria-expanded", String(hits.length > 0));
      mark(hits.length ? 0 : -1);
    };
    input.addEventListener("input", () => fill(input.value));
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" && hits.length) mark((active + 1) % hits.length);
      else if (event.key === "ArrowUp" && hits.length) mark((active + hits.length - 1) % hits.length);
      else if (event.key === "Enter" && active >= 0) decide("choose", hits[active][1], hits[active][0]);
      else if (event.key === "Escape" && input.value) { input.value = ""; fill(""); }
      else return;
      event.preventDefault();
    });
    return [el("label", {}, "Choose another type: search the Cell Ontology", input), list];
  }

  // --- the card of one cell set ------------------------------------------------------------------------------
  const WORDS = { accept: "accepted", choose: "chose", comment: "commented" };
  const sentence = (e) => [bdi(e.reviewer), ` ${WORDS[e.action]} `, e.action === "comment" ? null : [bdi(e.label), e.curie ? ` (${e.curie})` : null],
    `, ${e.date.slice(0, 16).replace("T", " ")} UTC`, e.reason ? [": ", el("q", {}, bdi(e.reason))] : null];

  function panel(set, at, word) {
    const entries = ofSet(set.cell_set), decision = entries.filter(decides).pop();
    const pressed = (action, id) => String(Boolean(decision) && decision.action === action && (action === "accept" || decision.curie === id));
    const option = (key, text, action, label, id) => el("button", { type: "button", "data-key": key, "aria-pressed": pressed(action, id), onclick: () => decide(action, label, id) },
      el("kbd", { "aria-hidden": "true" }, key), " ", text, bdi(label || "(no label)"));
    const others = set.candidates.filter(([id]) => id !== set.curie).slice(0, CANDIDATES);
    const reason = el("textarea", { id: "review-reason", maxlength: "2000" });
    const box = el("div", { class: "card review", role: "group", "aria-labelledby": "review-title" },
      el("h3", { id: "review-title" }, "Your review"),
      el("p", { class: "state", id: "review-state" }, decision ? sentence(decision) : "No decision yet."),
      el("div", { class: "options" },
        option("a", "Accept ", "accept", set.label, set.curie),
        others.map(([id, label], i) => option(String(i + 1), "", "choose", word(label), id))),
      el("div", { class: "fields" },
        el("div", {}, search()),
        el("div", {}, el("label", {}, "Reason or comment, kept with your decision", reason),
          el("button", { type: "button", "data-key": "m", onclick: comment }, el("kbd", { "aria-hidden": "true" }, "m"), " Save as a comment only"))),
      entries.length ? el("ul", { class: "log", "aria-label": "What was decided" }, entries.map((e) => el("li", {}, sentence(e)))) : null,
      el("p", { class: "small muted" }, "Keys, after a click in this card and while no field has the focus: a accepts, 1 to 9 choose a candidate, s searches, c writes a reason, m saves a comment, u undoes, n and p open the next and the previous set."));
    opened = { set, at, reason };
    return box;
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
    const keys = { s: () => byId("review-search").focus(), c: () => opened.reason.focus(), u: undo,
      n: () => choose(opened.at + 1), p: () => choose(opened.at - 1) };
    const button = document.querySelector(`.review [data-key="${CSS.escape(event.key)}"]`);
    if (!button && !keys[event.key]) return;
    event.preventDefault();
    if (button) button.click();
    else keys[event.key]();
  }

  function start(open) {
    choose = open;
    byId("review-bar").hidden = false;
    history = stored();
    try {
      byId("reviewer").value = localStorage.getItem("gather-reviewer") ?? "";
    } catch { /* no storage here: `stored` said so */ }
    byId("reviewer").addEventListener("change", () => {
      complain("");
      try { localStorage.setItem("gather-reviewer", byId("reviewer").value); } catch { /* the same */ }
    });
    byId("review-undo").addEventListener("click", undo);
    byId("review-save").addEventListener("click", save);
    byId("review-next").addEventListener("click", () => choose(nextOpen(opened.at)));
    byId("evidence").addEventListener("keydown", onKey);
    addEventListener("storage", (event) => { if (event.key === place) { keep(); show(); } });
    show();
  }

  return { start, panel };
})();
