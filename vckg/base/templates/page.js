/* Functions for the script of every page. Text becomes a text node; no script sets innerHTML.

   page.data(id)                  the JSON block of that id, parsed on first use
   page.el(tag, attributes, ...children)   an HTML element; a string child is text; null children are left out
   page.svg(tag, attributes, ...children)  the same for SVG
   page.meter(share, label)       a small bar for a value between 0 and 1
   page.colour(name)              the computed value of a custom property, e.g. page.colour("--ink"), for a canvas
   page.onTheme(callback)         called when the theme changes
   page.sortable(table)           header buttons sort the rows; th needs data-sort="text|number", td may carry data-value
   page.filter(input, table, count)  hides rows without the typed words; the element count shows the number of rows left

   The theme button, every table.data[data-sortable] and every input[data-filters] work without further code. */
"use strict";
const page = (() => {
  const parsed = new Map();
  const themeListeners = [];

  function data(id) {
    if (!parsed.has(id)) parsed.set(id, JSON.parse(document.getElementById(id).textContent));
    return parsed.get(id);
  }

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  function meter(share, label) {
    const width = 100 * Math.min(1, Math.max(0, share));
    return svg("svg", { class: "meter", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": label },
      svg("rect", { width: 100, height: 10 }), svg("rect", { width, height: 10 }));
  }

  function colour(name) {
    const probe = el("span", { hidden: true });
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  const onTheme = (callback) => themeListeners.push(callback);
  const announceTheme = () => themeListeners.forEach((callback) => callback());

  function stored(value) {  // a page opened from a file may have no storage; then the choice lasts as long as the page
    try {
      if (value === undefined) return localStorage.getItem("theme");
      localStorage.setItem("theme", value);
    } catch { /* no storage here */ }
    return null;
  }

  function themeButton(button) {
    const order = ["auto", "light", "dark"];
    const show = (theme) => {
      if (theme === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      button.textContent = `Theme: ${theme}`;
      button.value = theme;
      announceTheme();
    };
    show(order.includes(stored()) ? stored() : "auto");
    button.hidden = false;
    button.addEventListener("click", () => {
      const next = order[(order.indexOf(button.value) + 1) % order.length];
      stored(next);
      show(next);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announceTheme);
  }

  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
  };

  function sort(table, column, numeric, descending) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, at) => ({ row, at, key: value(row, column) }));
    rows.sort((a, b) => {
      if (numeric) {  // an empty cell is last in either direction
        const x = a.key === "" ? NaN : Number(a.key), y = b.key === "" ? NaN : Number(b.key);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a.at - b.at;
        return (descending ? y - x : x - y) || a.at - b.at;
      }
      return (descending ? -1 : 1) * words.compare(a.key, b.key) || a.at - b.at;
    });
    body.append(...rows.map((r) => r.row));
  }

  function sortable(table) {
    const headers = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
    headers.forEach((th, column) => {
      if (!th.dataset.sort) return;
      const button = el("button", { type: "button", class: "sort" }, ...Array.from(th.childNodes));
      th.append(button);
      button.addEventListener("click", () => {
        const numeric = th.dataset.sort === "number";
        const was = th.getAttribute("aria-sort");
        const descending = was ? was === "ascending" : numeric;
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, numeric, descending);
      });
    });
  }

  function filter(input, table, count) {
    const rows = Array.from(table.tBodies[0].rows, (row) => [row, row.textContent.toLowerCase()]);
    const apply = () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const [row, text] of rows) {
        row.hidden = !wanted.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      if (count) count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    };
    input.addEventListener("input", apply);
    apply();
  }

  themeButton(document.getElementById("theme"));
  document.querySelectorAll("table.data[data-sortable]").forEach(sortable);
  document.querySelectorAll("input[data-filters]").forEach((input) =>
    filter(input, document.getElementById(input.dataset.filters), document.getElementById(input.dataset.counts)));

  return { data, el, svg, meter, colour, onTheme, sortable, filter };
})();
