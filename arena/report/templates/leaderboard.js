/* Tabs, the answer browser and the cells of the comparison matrices. Without this script everything but the
   browser is on the page all the same. Texts of models are hostile: they only ever become text nodes (page.el). */
(() => {
  const { el } = page;

  /* ---- tabs: panels with data-tab become tabs of one list; arrow keys move between them ---- */
  document.querySelectorAll("[data-tabs]").forEach((box, which) => {
    const panels = Array.from(box.querySelectorAll(":scope > .panel"));
    if (panels.length < 2) return;
    const buttons = panels.map((panel, at) => {
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", `tab-${which}-${at}`);
      return el("button", {
        type: "button", role: "tab", id: `tab-${which}-${at}`, "aria-controls": panel.id,
        onclick: () => show(at), onkeydown: (event) => move(event, at),
      }, panel.dataset.tab);
    });
    function show(chosen) {
      panels.forEach((panel, at) => {
        panel.hidden = at !== chosen;
        buttons[at].setAttribute("aria-selected", String(at === chosen));
        buttons[at].tabIndex = at === chosen ? 0 : -1;
      });
    }
    function move(event, at) {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (at + step + panels.length) % panels.length;
      show(next);
      buttons[next].focus();
      event.preventDefault();
    }
    box.prepend(el("div", { class: "tablist", role: "tablist", "aria-label": "Tasks" }, buttons));
    show(0);
  });

  /* ---- matrices: a cell says its comparison in words ---- */
  const points = (value) => value === null ? "–" : (100 * value).toFixed(1).replace("-", "−");
  document.querySelectorAll("table.matrix").forEach((table) => {
    const note = el("p", { class: "matrix-note small", "aria-live": "polite" });
    table.closest(".scroll").after(note);
    const names = Array.from(table.tHead.rows[0].cells).slice(1).map((th) => th.textContent);
    table.addEventListener("click", (event) => {
      const cell = event.target.closest("tbody td");
      if (!cell || cell.classList.contains("self")) return;
      const first = cell.parentElement.cells[0].textContent, second = names[cell.cellIndex - 1];
      const rows = page.data(table.dataset.pairs)[table.dataset.column];
      const found = rows.find((r) => (r[0] === first && r[1] === second) || (r[0] === second && r[1] === first));
      const [a, b, difference, low, high, p, holm, detectable, common] = found;
      note.textContent = `${a} minus ${b}: ${points(difference)} points (95 % interval ${points(low)} to ${points(high)}), ` +
        `p = ${p === null ? "–" : p.toPrecision(2)}, after Holm ${holm === null ? "–" : holm.toPrecision(2)}, ` +
        `samples in common: ${common}; ` + (detectable === null ? "too few of them are independent for an interval." :
          `differences from ${points(detectable)} points would be found four times in five.`);
    });
  });

  /* ---- the answers ---- */
  const LISTED = 300;
  const percent = (value) => value === undefined || value < 0 ? "–" : String(value);

  function answerCard(name, answer) {
    if (!answer) return el("div", { class: "card" }, el("h4", {}, el("bdi", {}, name)), el("p", { class: "muted" }, "did not answer this one"));
    const values = Object.entries(answer.scores).map(([key, value]) =>
      el("li", {}, `${key} `, el("strong", {}, value === null ? "unscored" : value.toFixed(2))));
    const judged = Object.entries(answer.judged).map(([judge, why]) => el("p", { class: "why" }, el("strong", {}, `${judge}: `), why));
    const cited = Object.entries(answer.cited).flatMap(([judge, list]) => list.map((c) =>
      el("p", { class: "why cite" }, `${judge} cites ${c.id} (${c.stance || "supports"}): “${c.quote}”`)));
    return el("div", { class: "card" },
      el("h4", {}, el("bdi", {}, name)),
      el("pre", { tabindex: "0", "aria-label": `Answer of ${name}` }, answer.text),
      el("ul", { class: "values" }, values),
      answer.reason ? el("p", { class: "why" }, answer.reason) : null, judged, cited);
  }

  function browser(box) {
    const group = box.dataset.browser;
    const role = (name) => box.querySelector(`[data-role="${name}"]`);
    const [task, left, right, order, find] = ["task", "left", "right", "order", "find"].map(role);
    let views = null, scores = null;

    function load() {
      if (views) return;
      views = page.data(`samples-${group}`);
      scores = new Map(page.data(`scores-${group}`).map((column) => {
        const place = new Map(column.samples.map((id, at) => [id, at]));
        return [column.task, (name, id) => (column.percent[name] || [])[place.get(id)]];
      }));
    }
    function show(view, button) {
      role("list").querySelectorAll("[aria-current]").forEach((other) => other.removeAttribute("aria-current"));
      button.setAttribute("aria-current", "true");
      const strata = Object.entries(view.strata).map(([key, value]) => `${key}: ${value}`).join(" · ");
      const chosen = left.value === right.value ? [left.value] : [left.value, right.value];
      role("sample").replaceChildren(
        el("h3", {}, view.id), el("p", { class: "muted small" }, strata),
        el("details", {}, el("summary", {}, "The question as it was put"), el("pre", { tabindex: "0", "aria-label": "Prompt" }, view.prompt)),
        el("h4", { class: "spaced" }, "Reference"), el("pre", { tabindex: "0", "aria-label": "Reference" }, view.reference),
        el("div", { class: "answers" }, chosen.map((name) => answerCard(name, view.answers[name]))));
    }
    function list() {
      load();
      const score = scores.get(task.value);
      const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      const rows = views.filter((v) => v.task === task.value).map((view) => {
        const l = score(left.value, view.id), r = score(right.value, view.id);
        return { view, l, r, gap: l >= 0 && r >= 0 ? Math.abs(l - r) : -1 };
      }).filter(({ view }) => {
        const text = `${view.id} ${view.reference} ${Object.values(view.strata).join(" ")}`.toLowerCase();
        return wanted.every((word) => text.includes(word));
      });
      const by = { gap: (a, b) => b.gap - a.gap, low: (a, b) => (a.l ?? 999) - (b.l ?? 999), id: () => 0 }[order.value];
      rows.sort(by);
      role("count").textContent = rows.length > LISTED ? `first ${LISTED} of ${rows.length}` : `${rows.length} question${rows.length === 1 ? "" : "s"}`;
      const buttons = rows.slice(0, LISTED).map(({ view, l, r }) => {
        const button = el("button", { type: "button", onclick: () => show(view, button) },
          el("span", {}, view.id.split("/").slice(2).join("/") || view.id), el("span", { class: "number" }, percent(l)), el("span", { class: "number" }, percent(r)));
        return button;
      });
      role("list").replaceChildren(...buttons.map((button) => el("li", {}, button)));
      if (buttons.length) show(rows[0].view, buttons[0]);
      else role("sample").replaceChildren();
    }
    [task, left, right, order].forEach((control) => control.addEventListener("change", list));
    find.addEventListener("input", list);
    box.hidden = false;
    // The answers are read when they come near the screen: parsing them is the one slow thing here.
    new IntersectionObserver((entries, observer) => {
      if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); list(); }
    }, { rootMargin: "400px" }).observe(box);
  }
  document.querySelectorAll("[data-browser]").forEach(browser);
})();
