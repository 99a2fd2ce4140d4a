/* The embedding: points on a canvas, coloured by label or by confidence; the legend lights one label up.

   embedding.start(report, choose, describe)   wires canvas, legend and buttons; choose(set) opens a cell set,
                                               describe(set) is the line under the canvas */
"use strict";
const embedding = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  // From orange (doubtful, to be looked at) over grey to the accent (sure); told apart by colour-blind eyes too.
  const RAMPS = {
    light: [[189, 82, 22], [214, 156, 98], [188, 186, 178], [94, 150, 143], [15, 106, 99]],
    dark: [[244, 152, 80], [196, 142, 98], [122, 126, 128], [86, 156, 148], [108, 199, 189]],
  };
  const GOLDEN = 137.508;

  let data, points, mode = "label", lit = null, dark = false;

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
    return {
      scale,
      x: (at) => width / 2 + (points.xy[2 * at] - points.middle[0]) * scale,
      y: (at) => height / 2 - (points.xy[2 * at + 1] - points.middle[1]) * scale,
    };
  }

  function bounds(xy) {
    const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    xy.forEach((value, at) => {
      low[at % 2] = Math.min(low[at % 2], value);
      high[at % 2] = Math.max(high[at % 2], value);
    });
    return { span: low.map((v, i) => Math.max(high[i] - v, 1)), middle: low.map((v, i) => (high[i] + v) / 2) };
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

  function start(report, choose, describe) {
    data = report;
    const block = report.embedding;
    points = {
      count: block.points, xy: new Uint16Array(bytes(block.xy)), set: new Int32Array(bytes(block.set)),
      label: new Uint16Array(bytes(block.label)), confidence: new Uint8Array(bytes(block.confidence)),
    };
    Object.assign(points, bounds(points.xy));
    const canvas = document.getElementById("embedding");
    const under = document.getElementById("under");
    const idle = under.textContent;
    document.getElementById("by-label").addEventListener("click", () => colourBy("label"));
    document.getElementById("by-confidence").addEventListener("click", () => colourBy("confidence"));
    canvas.addEventListener("pointermove", (event) => {
      const at = nearest(canvas, event);
      under.textContent = at < 0 ? idle : points.set[at] < 0 ? "In no cell set" : describe(points.set[at]);
    });
    canvas.addEventListener("pointerleave", () => { under.textContent = idle; });
    canvas.addEventListener("click", (event) => {
      const at = nearest(canvas, event);
      if (at >= 0 && points.set[at] >= 0) choose(points.set[at]);
    });
    new ResizeObserver(draw).observe(canvas);
    page.onTheme(() => { readTheme(); legend(); draw(); });
    readTheme();
    colourBy("label");
  }

  return { start };
})();
