/* The embedding: points on a canvas, coloured by label or by confidence, each cell set with its name (or its confidence)
   where its cells are; the legend lights one label up.

   embedding.start(report, open, describe)   wires canvas, legend and buttons; open(set) shows a cell set's evidence,
                                             describe(set) is {title, label, confidence} of a set
   embedding.choose(set)                     makes a set the chosen one: its name is drawn first, on the accent */
"use strict";
const embedding = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  // From orange (doubtful, to be looked at) over grey to the accent (sure); told apart by colour-blind eyes too.
  const RAMPS = {
    light: [[189, 82, 22], [214, 156, 98], [188, 186, 178], [94, 150, 143], [15, 106, 99]],
    dark: [[244, 152, 80], [196, 142, 98], [122, 126, 128], [86, 156, 148], [108, 199, 189]],
  };
  const GOLDEN = 137.508;

  const NAMES = 60, LINE = 15, LETTERS = 24, FEW = 50;  // names at most; pixels and letters a line; cells a name would hide

  let data, points, anchors = [], mode = "label", lit = null, dark = false, chosen = -1, say;

  function labelColour(index, unknown) {
    if (unknown) return dark ? "rgb(98 106 114)" : "rgb(172 176 180)";
    const lightness = (dark ? [0.72, 0.8, 0.64] : [0.6, 0.7, 0.5])[index % 3];
    return `oklch(${lightness} 0.135 ${(28 + index * GOLDEN) % 360})`;
  }

  function ramp(share) {
    const stops = RAMPS[dark ? "dark" : "light"];
    const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return `rgb(${stops[low].map((c, i) => Math.round(c + (stops[low + 1][i] - c) * (at - low))).join(" ")})`;
  }

  const isUnknown = (label) => label === "unknown" || label === "";
  const colours = () => mode === "label"
    ? data.labels.map((entry, i) => labelColour(i, isUnknown(entry.label)))
    : Array.from({ length: 32 }, (_, i) => ramp(i / 31));

  // One scale for both axes: distances keep their meaning.
  function fit(width, height) {
    const scale = 0.94 * Math.min(width / points.span[0], height / points.span[1]);
    const px = (x) => width / 2 + (x - points.middle[0]) * scale, py = (y) => height / 2 - (y - points.middle[1]) * scale;
    return { px, py, x: (at) => px(points.xy[2 * at]), y: (at) => py(points.xy[2 * at + 1]) };
  }

  function bounds(xy) {
    const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    xy.forEach((value, at) => {
      low[at % 2] = Math.min(low[at % 2], value);
      high[at % 2] = Math.max(high[at % 2], value);
    });
    return { span: low.map((v, i) => Math.max(high[i] - v, 1)), middle: low.map((v, i) => (high[i] + v) / 2) };
  }

  // Where each set's name goes: the cell nearest to the middle of its cells, the largest sets first.
  function middles() {
    const cells = new Map();
    for (let i = 0; i < points.count; i += 1) {
      if (points.set[i] < 0) continue;
      if (!cells.has(points.set[i])) cells.set(points.set[i], []);
      cells.get(points.set[i]).push(i);
    }
    const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
    return [...cells].map(([set, list]) => {
      const middle = [0, 1].map((axis) => median(list.map((i) => points.xy[2 * i + axis])));
      const away = (i) => Math.hypot(points.xy[2 * i] - middle[0], points.xy[2 * i + 1] - middle[1]);
      const nearest = list.reduce((best, i) => (away(i) < away(best) ? i : best));
      return { set, n: list.length, label: points.label[nearest], x: points.xy[2 * nearest], y: points.xy[2 * nearest + 1] };
    }).sort((a, b) => b.n - a.n || a.set - b.set);
  }

  function lines(text) {
    const made = [""];
    for (const word of text.slice(0, 200).split(/\s+/)) {
      const joined = `${made[made.length - 1]} ${word}`.trim();
      if (joined.length <= LETTERS || made[made.length - 1] === "") made[made.length - 1] = joined;
      else made.push(word);
    }
    const cut = made.map((line) => (line.length > LETTERS + 4 ? `${line.slice(0, LETTERS + 3)}…` : line));
    return cut.length > 3 ? [...cut.slice(0, 2), `${cut[2].slice(0, LETTERS)}…`] : cut;
  }

  // A name that finds no free place beside the others is left out; the legend and the table have it.
  function names(pen, width, height) {
    const place = fit(width, height);
    const taken = [];
    const free = (box) => box[0] >= 2 && box[1] >= 2 && box[2] <= width - 2 && box[3] <= height - 2
      && taken.every((t) => box[2] < t[0] || box[0] > t[2] || box[3] < t[1] || box[1] > t[3]);
    const face = getComputedStyle(document.body).fontFamily;
    const [ink, paper, accent, onAccent] = ["--ink", "--surface", "--accent", "--on-accent"].map(page.colour);
    const wanted = anchors.filter((a) => lit === null || a.label === lit);
    const first = wanted.filter((a) => a.set === chosen);
    Object.assign(pen, { textAlign: "center", textBaseline: "middle", lineJoin: "round", lineWidth: 4, strokeStyle: paper, globalAlpha: 1 });
    for (const anchor of [...first, ...wanted.filter((a) => a.set !== chosen)].slice(0, NAMES)) {
      const said = say(anchor.set);
      const text = mode === "label" ? lines(said.label) : [said.confidence];
      pen.font = `${anchor.set === chosen ? 700 : 600} 12.5px ${face}`;
      const half = Math.max(...text.map((line) => pen.measureText(line).width)) / 2 + 3;
      const tall = (LINE * text.length) / 2;
      const x = Math.min(Math.max(place.px(anchor.x), half + 3), Math.max(width - half - 3, half + 3)), y = place.py(anchor.y);
      const shift = (anchor.n < FEW ? [-1, 1, 0, -2, 2] : [0, -1, 1, -2, 2]).map((s) => s * (tall + 4)).find((dy) => free([x - half, y + dy - tall, x + half, y + dy + tall]));
      if (shift === undefined) continue;
      taken.push([x - half, y + shift - tall, x + half, y + shift + tall]);
      const own = anchor.set === chosen;
      pen.fillStyle = accent;
      if (own) pen.fillRect(x - half, y + shift - tall - 1, 2 * half, 2 * tall + 1);
      pen.fillStyle = own ? onAccent : ink;
      text.forEach((line, i) => {
        const at = y + shift + LINE * (i - (text.length - 1) / 2);
        if (!own) pen.strokeText(line, x, at);
        pen.fillText(line, x, at);
      });
    }
  }

  function draw() {
    const canvas = document.getElementById("embedding");
    const box = canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * density);
    canvas.height = Math.round(box.height * density);
    const place = fit(canvas.width, canvas.height);
    const pen = canvas.getContext("2d");
    const radius = Math.max(1.1, Math.min(3.2, 200 / Math.sqrt(points.count + 1))) * density;
    const groups = new Map();  // one path a colour is much faster than one a point
    for (let i = 0; i < points.count; i += 1) {
      const group = mode === "label" ? points.label[i] : points.label[i] === 65535 ? 65535 : points.confidence[i] >> 3;
      const key = lit !== null && points.label[i] !== lit ? -1 : group;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(i);
    }
    const palette = colours();
    const none = labelColour(0, true);
    for (const key of [...groups.keys()].sort((a, b) => a - b)) {
      pen.fillStyle = key === -1 || key === 65535 ? none : palette[key];
      pen.globalAlpha = key === -1 ? 0.18 : 0.85;
      pen.beginPath();
      for (const i of groups.get(key)) {
        const x = place.x(i), y = place.y(i);
        pen.moveTo(x + radius, y);
        pen.arc(x, y, radius, 0, 2 * Math.PI);
      }
      pen.fill();
    }
    pen.setTransform(density, 0, 0, density, 0, 0);
    names(pen, box.width, box.height);
  }

  function choose(set) {
    if (chosen === set || !points) return;
    chosen = set;
    draw();
  }

  // The table's rows carry the colours of the plot.
  function swatches() {
    document.querySelectorAll("#table tr[data-label]").forEach((row) => {
      const at = Number(row.dataset.label);
      row.querySelector(".swatch").style.background = labelColour(at, isUnknown(data.labels[at].label));
    });
  }

  function nearest(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const place = fit(box.width, box.height);
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 10 ** 2;  // within ten pixels
    for (let i = 0; i < points.count; i += 1) {
      const distance = (place.x(i) - x) ** 2 + (place.y(i) - y) ** 2;
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  }

  function legend() {
    const place = document.getElementById("legend");
    if (mode === "confidence") {
      const bar = page.el("div", { class: "ramp", "aria-hidden": "true" });
      for (let i = 0; i < 32; i += 1) {
        const step = page.el("span");
        step.style.background = ramp(i / 31);
        bar.append(step);
      }
      place.replaceChildren(page.el("p", {}, "Confidence of the cell set's label"), bar,
        page.el("div", { class: "ends muted" }, page.el("span", {}, "0"), page.el("span", {}, "0.5"), page.el("span", {}, "1")));
      return;
    }
    place.replaceChildren(page.el("ul", {}, data.labels.map((entry, i) => {
      const swatch = page.el("span", { class: "swatch" });
      swatch.style.background = labelColour(i, isUnknown(entry.label));
      return page.el("li", {}, page.el("button", {
        type: "button", "aria-pressed": String(lit === i), onclick: () => light(lit === i ? null : i),
      }, swatch, page.el("bdi", { class: "clip" }, entry.label || "(no label)"),
        page.el("span", { class: "muted number" }, entry.cells.toLocaleString("en"))));
    })));
  }

  function light(label) {
    lit = label;
    document.querySelectorAll("#legend button").forEach((button, i) => button.setAttribute("aria-pressed", String(i === lit)));
    draw();
  }

  function colourBy(wanted) {
    mode = wanted;
    lit = null;
    for (const name of ["label", "confidence"]) {
      document.getElementById(`by-${name}`).setAttribute("aria-pressed", String(name === mode));
    }
    document.getElementById("embedding").setAttribute("aria-label",
      `Embedding of the cells, coloured by ${mode}; the table below lists the same cell sets`);
    legend();
    draw();
  }

  function readTheme() {
    const ink = page.colour("--ink").match(/\d+/g).map(Number);
    dark = ink[0] + ink[1] + ink[2] > 380;
  }

  function start(report, open, describe) {
    data = report;
    say = describe;
    const block = report.embedding;
    points = {
      count: block.points, xy: new Uint16Array(bytes(block.xy)), set: new Int32Array(bytes(block.set)),
      label: new Uint16Array(bytes(block.label)), confidence: new Uint8Array(bytes(block.confidence)),
    };
    Object.assign(points, bounds(points.xy));
    anchors = middles();
    const canvas = document.getElementById("embedding");
    const under = document.getElementById("under");
    const idle = under.textContent;
    const line = (set) => `${set.title}: ${set.label.slice(0, 80)}, confidence ${set.confidence}`;
    document.getElementById("by-label").addEventListener("click", () => colourBy("label"));
    document.getElementById("by-confidence").addEventListener("click", () => colourBy("confidence"));
    canvas.addEventListener("pointermove", (event) => {
      const at = nearest(canvas, event);
      under.textContent = at < 0 ? idle : points.set[at] < 0 ? "In no cell set" : line(describe(points.set[at]));
    });
    canvas.addEventListener("pointerleave", () => { under.textContent = idle; });
    canvas.addEventListener("click", (event) => {
      const at = nearest(canvas, event);
      if (at >= 0 && points.set[at] >= 0) open(points.set[at]);
    });
    new ResizeObserver(draw).observe(canvas);
    page.onTheme(() => { readTheme(); legend(); swatches(); draw(); });
    readTheme();
    swatches();
    colourBy("label");
  }

  return { start, choose };
})();
