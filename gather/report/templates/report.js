/* The chosen cell set: its answer, warnings, drawing, and evidence that unfolds to single walks and publications.
   A set's JSON is parsed when the set is opened, an item's inside is made when it is unfolded. */
"use strict";
(() => {
  const report = page.data("report");
  const words = page.data("words");
  const word = (at) => words[at];
  const { el } = page;
  const SHOWN = 2;  // warnings of a kind that are not folded away
  let chosen = -1;

  // --- small things ------------------------------------------------------------------------------------------
  const number = (value, digits = 3) => (value === null ? "–" : Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits }));
  const tiny = (value) => (value === null ? "–" : value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : number(value, 2));
  const share = (value) => (value === null ? "–" : value.toFixed(2));
  const bdi = (text, name) => el("bdi", { class: name }, text);
  const link = (href, text) => el("a", { href, rel: "noreferrer noopener" }, text);
  const readable = (relation) => relation.replaceAll("_", " ");
  const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  const PLACES = [  // only ids of a known form become addresses
    [/^(CL|UBERON|GO|MONDO|HP|PR|CHEBI):\d+$/, (id) => `http://purl.obolibrary.org/obo/${id.replace(":", "_")}`],
    [/^HGNC:\d+$/, (id) => `https://www.genenames.org/data/gene-symbol-report/#!/hgnc_id/${id}`],
    [/^(REACT|Reactome):R-HSA-\d+$/, (id) => `https://reactome.org/content/detail/${id.split(":")[1]}`],
    [/^PMID:\d+$/, (id) => `https://pubmed.ncbi.nlm.nih.gov/${id.slice(5)}/`],
    [/^PMC:?(PMC)?\d+$/, (id) => `https://pmc.ncbi.nlm.nih.gov/articles/PMC${id.match(/\d+$/)[0]}/`],
    [/^doi:10\.[\w.\-/();:]+$/i, (id) => `https://doi.org/${id.slice(4)}`],
  ];
  function curie(id) {
    const place = PLACES.find(([form]) => form.test(id));
    return place ? link(place[1](id), id) : bdi(id, "mono");
  }

  function table(caption, heads, rows) {
    return el("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": caption },
      el("table", { class: "data" }, el("caption", { class: "visually-hidden" }, caption),
        el("thead", {}, el("tr", {}, heads.map(([text, numeric]) => el("th", { scope: "col", class: numeric ? "number" : null }, text)))),
        el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, i) => el(i ? "td" : "th", { scope: i ? null : "row", class: heads[i][1] ? "number" : null }, cell)))))));
  }

  function unfold(name, summary, make) {
    const box = el("details", { class: name }, el("summary", {}, summary));
    box.addEventListener("toggle", () => {
      if (box.open && !box.querySelector(":scope > .inside")) box.append(el("div", { class: "inside" }, make()));
    });
    return box;
  }

  // --- one walk ----------------------------------------------------------------------------------------------
  function edges(step) {
    const [list, more] = step;
    const rows = list.map(([, relation, predicate, source, licence, level, count, sign, publications, n, tissues, orthologue]) => [
      [readable(word(relation)), sign ? ` (${sign > 0 ? "activates" : "represses"})` : null, el("div", { class: "mono muted small" }, word(predicate)),
        word(orthologue) ? el("div", { class: "small" }, ["By orthology, from ", bdi(word(orthologue))]) : null],
      [bdi(word(source)), el("div", { class: "muted small" }, word(licence))],
      [readable(word(level)), tissues.length ? el("div", { class: "muted small" }, `in ${tissues.map(word).join(", ")}`) : null],
      counted(count, "row"),
      n ? [publications.map((id, i) => [i ? ", " : null, curie(id)]), n > publications.length ? ` and ${n - publications.length} more` : null] : el("span", { class: "muted" }, "none given"),
    ]);
    return [table("Edges of this step", [["Relation"], ["Source"], ["Kind of knowledge"], ["Support", true], ["Publications"]], rows),
      more ? el("p", { class: "muted small" }, `${counted(more, "further edge")} in the annotated file.`) : null];
  }

  function walk([path, steps, weight]) {
    const summary = [bdi(word(path[0][1]))];
    steps.forEach(([list], i) => {
      const forwards = list.length === 0 || list[0][0] === path[i][0];
      const relation = list.length ? readable(word(list[0][1])) : "";
      summary.push(el("span", { class: "arrow" }, forwards ? ` –${relation}→ ` : ` ←${relation}– `), bdi(word(path[i + 1][1])));
    });
    summary.push(el("span", { class: "muted small" }, ` weight ${tiny(weight)}`));
    return unfold("walk", summary, () => steps.map((step, i) => [
      steps.length > 1 ? el("h4", {}, "Step ", String(i + 1), ": ", bdi(word(path[i][1])), " and ", bdi(word(path[i + 1][1]))) : null, edges(step)]));
  }

  // --- one item ----------------------------------------------------------------------------------------------
  function inside(item) {
    const most = Math.max(...item.genes.map((g) => g[4] || 0), 1e-12);
    const genes = item.genes.map(([id, symbol, rank, weight, part, hops]) => [
      bdi(word(symbol)), curie(id), String(rank + 1), share(weight),
      [page.meter((part || 0) / most, `share ${share(part)}`), ` ${share(part)}`], hops.join(", ")]);
    return [
      word(item.about) ? el("p", { class: "muted" }, bdi(word(item.about))) : null,
      genes.length ? table(`Genes that support ${word(item.name).slice(0, 100)}`,
        [["Gene"], ["Id"], ["Rank", true], ["Weight", true], ["Share of the score", true], ["Hops", true]], genes) : null,
      item.n > item.genes.length ? el("p", { class: "muted small" }, `${counted(item.n - item.genes.length, "further gene")} in the annotated file.`) : null,
      item.walks.length ? el("div", {}, el("h4", {}, "Best walks"), item.walks.map(walk)) : el("p", { class: "muted" }, "No walk was kept for this node."),
    ];
  }

  function items(list, more, set) {
    return [el("div", {}, list.map((item) => unfold("item", [
      el("span", { class: "name" }, bdi(word(item.name))), " ",
      el("span", { class: "muted small" }, `${item.curie} · ${readable(word(item.category))} · reached by ${counted(item.n, "gene")} · score ${number(item.score)} · FDR ${tiny(item.fdr)} `),
      set.reasons.includes(item.id) ? el("span", { class: "badge", "data-tone": "info" }, "named by the model") : null,
    ], () => inside(item)))),
    more ? el("p", { class: "muted small" }, `${counted(more, "further item")} in the annotated file.`) : null];
  }

  // --- one cell set ------------------------------------------------------------------------------------------
  function remarks(set) {
    const notes = [];
    if (set.by === "llm") notes.push(el("div", { class: "note", "data-tone": "info" }, `A language model chose among the candidates${set.reasons.length ? `; it named ${set.reasons.join(", ")} as reasons` : ""}. `, bdi(set.note)));
    else if (set.note && set.by === "fallback") notes.push(el("div", { class: "note", "data-tone": "warn" }, bdi(set.note)));
    const listed = (tone, title, lines) => {
      if (!lines.length) return;
      const list = (some) => el("ul", {}, some.map((line) => el("li", {}, line)));
      const rest = lines.slice(SHOWN);
      notes.push(el("div", { class: "note", "data-tone": tone }, el("strong", {}, title), list(lines.slice(0, SHOWN)),
        rest.length ? unfold("rest", `${rest.length} more`, () => list(rest)) : null));
    };
    const KINDS = { expected_absent: "is expected but hardly there", negative_present: "speaks against it and is there", disputed: "is there" };
    const lines = (of) => set.contradictions.filter(([, , kind]) => of.includes(kind)).map(([symbol, id, kind, inSet, inFile]) => [bdi(word(symbol)), " ", curie(id),
      ` ${KINDS[kind]}: in ${percent(inSet)} of the set's cells, ${percent(inFile)} of the file's`]);
    listed("bad", "Against the label", lines(["expected_absent", "negative_present"]));
    listed("info", "Sources disagree whether these are markers, so they are no objection", lines(["disputed"]));
    listed("warn", "What this file cannot decide", set.coverage.map(([label, id, message]) => [bdi(message || word(label)), " ", curie(id)]));
    return notes.length ? el("div", { class: "notes" }, notes) : null;
  }
  const percent = (share) => (share === null ? "an unknown share" : `${number(100 * share, 2)} %`);

  // Why this label: the genes with an edge of their own to it and their shares of its score, and what came next.
  function because(set) {
    const item = set.evidence.find((e) => e.curie === set.curie) || set.evidence[0];
    if (!set.because.length) return null;
    const most = Math.max(...set.because.map(([, part]) => part), 1e-12);
    const next = set.candidates.find(([id]) => id !== set.curie && id !== item.curie);
    const own = set.candidates.find(([id]) => id === item.curie);
    return el("div", { class: "because" },
      el("p", { class: "small muted" }, item.curie === set.curie ? "Because of these genes" : ["Because of these genes of ", bdi(word(item.name)), ", the best candidate"], ", with their shares of the score"),
      el("ul", { class: "shares" }, set.because.map(([symbol, part]) => el("li", {}, bdi(word(symbol)), page.meter(part / most, "share of the score"), el("span", { class: "number" }, `${number(100 * part, 2)} %`)))),
      el("p", { class: "small muted" }, "Best evidence: ", bdi(set.because.slice(0, 3).map(([, , known]) => known).join("; ")), ". ",
        next ? ["Next: ", bdi(word(next[1])), own ? `, score ${number(next[2])} against ${number(own[2])}.` : "."] : null));
  }

  function answer(set) {
    const facts = [["Confidence", share(set.confidence)], ["FDR", tiny(set.fdr)], ...(set.cells > 1 ? [["Cells", set.cells.toLocaleString("en")]] : [])];
    return el("div", { class: "card answer" },
      el("div", {}, el("p", { class: "label" }, bdi(set.answer || set.label || "(no label)")),
        el("div", { class: "line" }, set.status === set.label ? null : el("span", { class: "badge", "data-tone": set.tone }, set.status), set.why ? bdi(set.why) : null, set.curie ? curie(set.curie) : null,
          set.closed ? el("span", { class: "muted small" }, "closed list of candidates") : null,
          set.note && set.by === "retrieval" ? el("span", { class: "muted small" }, bdi(set.note)) : null)),
      el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      because(set));
  }

  function candidates(set) {
    const heads = [["Candidate"], ["Id"], ["Score", true], ["Confidence", true], ["p", true], ["FDR", true], ["Genes that speak", true]];
    const rows = set.candidates.map(([id, label, score, p, fdr, confidence, n]) => [bdi(word(label)), curie(id), number(score),
      [page.meter(confidence || 0, `confidence ${share(confidence)}`), ` ${share(confidence)}`], tiny(p), tiny(fdr), String(n)]);
    return [el("p", { class: "small muted" }, "In the order of the choice. It weighs the score, the file's other cell sets and how alike the candidates are. A gene speaks that adds at least 2 % of what the loudest adds."),
      table("Candidates", heads, rows.slice(0, 5)),
      rows.length > 5 ? unfold("rest", `${rows.length - 5} more`, () => table("Further candidates", heads, rows.slice(5))) : null];
  }

  function genes(title, list) {
    return list.length ? [el("h3", {}, title), el("ol", { class: "genes" }, list.map((gene) => el("li", {}, bdi(gene))))] : null;
  }

  // Convergence nodes that are no cell types; those that chance may explain are folded away.
  function shared(set) {
    const sure = set.convergence.filter(convergence.beyondChance), rest = set.convergence.filter((item) => !sure.includes(item));
    return [el("h3", {}, "What else these genes share"),
      el("p", { class: "small muted" }, "Processes, pathways, tissues, diseases and genes where many of their walks through the graph meet (convergence nodes)."),
      items(sure, rest.length ? 0 : set.more[1], set),
      rest.length ? unfold("rest", `${rest.length} more that chance may explain (FDR above 0.02)`, () => items(rest, set.more[1], set)) : null];
  }

  function detail(set) {
    const picture = convergence.draw(set, word);
    return [
      answer(set), review ? review.panel(set, chosen, word) : null, remarks(set),
      picture ? [el("h3", {}, "Where the genes meet"), el("div", { class: "card scroll picture", tabindex: "0", role: "region", "aria-label": "Convergence graph" }, picture)] : null,
      set.candidates.length ? [el("h3", {}, "Candidates"), candidates(set)] : null,
      set.evidence.length ? [el("h3", {}, "Evidence for the candidates"), items(set.evidence, set.more[0], set)] : null,
      set.convergence.length ? shared(set) : null,
      genes("Query genes, most distinctive first", set.genes),
      genes("Ambiguous names, left out", set.ambiguous), genes("Names the graph does not know", set.ungrounded),
    ].flat(Infinity).filter(Boolean);
  }

  function choose(at, focus = true) {
    if (at < 0 || at >= report.sets) return;
    const set = page.data(`set-${at}`);
    if (report.embedding) embedding.choose(at);
    const before = document.getElementById(`row-${chosen}`);
    if (before) before.classList.remove("chosen");
    chosen = at;
    document.getElementById(`row-${at}`).classList.add("chosen");
    const title = document.getElementById("chosen");
    title.replaceChildren("Evidence for ", bdi(set.cell_set.length > 200 ? `${set.cell_set.slice(0, 200)}…` : set.cell_set || "(no name)"));
    document.getElementById("detail").replaceChildren(...detail(set));
    for (const [id, step] of [["previous", -1], ["next", 1]]) {
      const button = document.getElementById(id);
      button.hidden = report.sets < 2;
      button.disabled = at + step < 0 || at + step >= report.sets;
    }
    if (focus) {
      title.focus({ preventScroll: true });
      title.scrollIntoView({ block: "start" });
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.open");
    if (button) choose(Number(button.dataset.set));
  });
  document.getElementById("previous").addEventListener("click", () => choose(chosen - 1, false));
  document.getElementById("next").addEventListener("click", () => choose(chosen + 1, false));
  if (report.embedding) {
    const row = (at) => document.getElementById(`row-${at}`).cells;
    embedding.start(report, choose, (at) => ({
      title: row(at)[0].textContent.trim().slice(0, 60), label: row(at)[1].querySelector("bdi").textContent, confidence: row(at)[2].textContent.trim(),
    }));
  }
  if (review) review.start(choose);
  choose(0, false);
})();
