/* The drawing of one cell set: query genes on the left, the nodes where their walks meet in the middle, cell types on
   the right. Everything drawn is also in the tables below it; pointing at a node lights its links up. */
"use strict";
const convergence = (() => {
  const MOST = { gene: 16, node: 10, cell: 6 }, FDR = 0.02;
  const beyondChance = (item) => item.fdr !== null && item.fdr <= FDR;
  const WIDTH = 980, ROW = 25, TOP = 34, COLUMNS = { gene: 112, node: 372, cell: 716 };

  const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

  function collect(set, word) {
    const nodes = new Map(), links = new Map();
    const node = (kind, curie, name, weight) => {
      const known = nodes.get(curie) || { kind, curie, name, weight: 0, links: [] };
      known.weight += weight;
      nodes.set(curie, known);
      return known;
    };
    const link = (from, to, weight, chosen) => {
      const key = `${from}\u0000${to}`;
      const known = links.get(key) || { from, to, weight: 0, chosen: false };
      known.weight = Math.max(known.weight, weight);
      known.chosen = known.chosen || chosen;
      links.set(key, known);
    };
    const cells = set.evidence.slice(0, MOST.cell);
    cells.forEach((item, rank) => {
      const chosen = item.curie === set.curie || (rank === 0 && !cells.some((c) => c.curie === set.curie));
      node("cell", item.curie, word(item.name), cells.length - rank).chosen = chosen;
      for (const [curie, symbol, , , share, hops] of item.genes) {
        node("gene", curie, word(symbol), share || 0);
        if (hops.includes(1)) link(curie, item.curie, share || 0, chosen);
      }
      for (const [path, , weight] of item.walks) {
        if (path.length < 3) continue;
        node("gene", path[0][0], word(path[0][1]), 0);
        const inner = path.slice(1, -1);
        inner.forEach(([curie, name]) => node("node", curie, word(name), weight || 0));
        link(path[0][0], inner[0][0], weight || 0, chosen);
        link(inner[inner.length - 1][0], item.curie, weight || 0, chosen);
      }
    });
    set.convergence.filter(beyondChance).slice(0, MOST.node).forEach((item) => {
      node("node", item.curie, word(item.name), item.n);
      for (const [curie, symbol, , , share] of item.genes) {
        node("gene", curie, word(symbol), 0);
        link(curie, item.curie, share || 0, false);
      }
    });
    return { nodes, links: [...links.values()] };
  }

  function columns({ nodes, links }) {
    const kept = {};
    for (const kind of ["gene", "node", "cell"]) {
      kept[kind] = [...nodes.values()].filter((n) => n.kind === kind)
        .sort((a, b) => b.weight - a.weight || (a.curie < b.curie ? -1 : 1)).slice(0, MOST[kind]);
    }
    const shown = new Set(Object.values(kept).flat().map((n) => n.curie));
    const drawn = links.filter((l) => shown.has(l.from) && shown.has(l.to));
    const joined = new Set(drawn.flatMap((l) => [l.from, l.to]));
    kept.gene = kept.gene.filter((n) => joined.has(n.curie));
    kept.node = kept.node.filter((n) => joined.has(n.curie));
    const rows = Math.max(...Object.values(kept).map((column) => column.length), 1);
    const at = new Map();
    const place = (column) => column.forEach((n, i) => at.set(n.curie, TOP + ROW * ((i + 0.5) * (rows / column.length))));
    place(kept.gene);
    place(kept.cell);
    const middle = (n) => {  // where its neighbours are on average: fewer crossings
      const ends = drawn.filter((l) => l.from === n.curie || l.to === n.curie)
        .map((l) => at.get(l.from === n.curie ? l.to : l.from)).filter((y) => y !== undefined);
      return ends.reduce((sum, y) => sum + y, 0) / Math.max(ends.length, 1);
    };
    kept.node = kept.node.map((n) => [middle(n), n]).sort((a, b) => a[0] - b[0] || (a[1].curie < b[1].curie ? -1 : 1)).map((p) => p[1]);
    place(kept.node);
    return { kept, drawn, at, height: TOP + ROW * rows + 8 };
  }

  function path(link, x1, y1, x2, y2, heaviest) {
    const bend = (x2 - x1) / 2;
    return page.svg("path", {
      class: link.chosen ? "link chosen" : "link", "data-from": link.from, "data-to": link.to,
      d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
      "stroke-width": (0.4 + 3.6 * link.weight / heaviest).toFixed(2),
    });
  }

  function light(picture, curie) {
    picture.classList.toggle("lit", curie !== null);
    picture.querySelectorAll(".on").forEach((n) => n.classList.remove("on"));
    if (curie === null) return;
    const ends = new Set([curie]);
    picture.querySelectorAll(".link").forEach((l) => {
      if (l.dataset.from !== curie && l.dataset.to !== curie) return;
      l.classList.add("on");
      ends.add(l.dataset.from).add(l.dataset.to);
    });
    picture.querySelectorAll(".node").forEach((n) => n.classList.toggle("on", ends.has(n.dataset.curie)));
  }

  function draw(set, word) {
    const { kept, drawn, at, height } = columns(collect(set, word));
    if (!drawn.length) return null;
    const heaviest = Math.max(...drawn.map((l) => l.weight), 1e-12);
    const column = new Map(Object.entries(kept).flatMap(([kind, list]) => list.map((n) => [n.curie, COLUMNS[kind]])));
    const picture = page.svg("svg", {
      viewBox: `0 0 ${WIDTH} ${height}`, role: "img",
      "aria-label": `genes: ${kept.gene.length}, nodes where their walks meet: ${kept.node.length}, cell types: ${kept.cell.length}; listed below`,
    });
    for (const [kind, title, anchor, shift] of [["gene", "Query genes", "end", -12], ["node", "Where walks meet", "middle", 0], ["cell", "Cell types", "start", 12]]) {
      if (kept[kind].length) picture.append(page.svg("text", { class: "head", x: COLUMNS[kind] + shift, y: 15, "text-anchor": anchor }, title));
    }
    for (const l of [...drawn].sort((a, b) => Number(a.chosen) - Number(b.chosen))) {
      const from = column.get(l.from), to = column.get(l.to);
      picture.append(path(l, from + 5, at.get(l.from), to - 5, at.get(l.to), heaviest));
    }
    for (const kind of ["gene", "node", "cell"]) {
      for (const n of kept[kind]) {
        const side = { gene: { x: COLUMNS.gene - 12, "text-anchor": "end" }, node: { x: COLUMNS.node + 10 }, cell: { x: COLUMNS.cell + 12 } }[kind];
        const y = at.get(n.curie);
        const label = page.svg("text", { ...side, y: y + 4 }, short(n.name, { gene: 14, node: 40, cell: 34 }[kind]));
        picture.append(page.svg("g", {
          class: n.chosen ? "node chosen" : "node", "data-curie": n.curie,
          onpointerenter: () => light(picture, n.curie), onpointerleave: () => light(picture, null),
        }, page.svg("title", {}, `${n.name} (${n.curie})`),
        page.svg("circle", { class: "dot", cx: COLUMNS[kind], cy: y, r: kind === "gene" ? 3.5 : 5 }), label));
      }
    }
    return picture;
  }

  return { draw, beyondChance };
})();
