"""The README's picture: the demo's cells with their labels, and the evidence of one call.

``python docs/_build/picture.py demo/pbmc68k_reduced.gather.h5ad docs/images/demo.svg`` after ``make demo``.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

import anndata as ad
import numpy as np

from gather.annotation import Annotation
from gather.cells.results import results
from gather.labelling.plain_words import objections

WIDTH, HEIGHT, PLOT = 960, 440, 430
#: Okabe and Ito's colours, told apart by most eyes, and two greys.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B61A8", "#A0522D")
UNKNOWN = "#B0B0B0"
STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1b1f24; }
.halo { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; font-weight: 600; }
.soft { fill: #57606a; } .card { fill: #ffffff; stroke: #d0d7de; } .page { fill: #ffffff; }
.track { fill: #eaeef2; } .bar { fill: #0072B2; }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3; } .halo { stroke: #0d1117; } .soft { fill: #8d96a0; }
 .card { fill: #161b22; stroke: #30363d; } .page { fill: #0d1117; } .track { fill: #30363d; } .bar { fill: #56B4E9; }
}
"""


def text(x: float, y: float, words: str, size: int, kind: str = "", anchor: str = "start") -> str:
    """One line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def cells(adata: ad.AnnData, groups: str) -> list[str]:
    """Points by label, and each label at the middle of its largest cell set."""
    points = np.asarray(adata.obsm["X_umap"], float)
    low, high = points.min(0), points.max(0)
    places = 15 + (points - low) / (high - low) * (PLOT - 45)
    places[:, 1] = PLOT - places[:, 1]
    labels = adata.obs["gather_cell_type"].astype(str).to_numpy()
    names = [name for name in dict.fromkeys(labels) if name != "unknown"]
    colour = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)} | {"unknown": UNKNOWN}
    drawn = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour[label]}" fill-opacity="0.75"/>'
        for (x, y), label in zip(places, labels, strict=True)
    ]
    sets = adata.obs[groups].astype(str).to_numpy()
    for name in names:
        largest = max(set(sets[labels == name]), key=lambda group: int((sets == group).sum()))
        x, y = np.median(places[sets == largest], axis=0)
        half = 3.8 * len(name)
        drawn.append(text(min(max(x, half), PLOT + 20 - half), y, name, 13, "halo", "middle"))
    return drawn


def card(entry: Annotation) -> list[str]:
    """Why one cell set got its label."""
    x, y = PLOT + 50, 40
    best = entry.evidence[0]
    drawn = [
        f'<rect x="{x - 20}" y="{y - 24}" width="{WIDTH - x}" height="{HEIGHT - 36}" rx="10" class="card"/>',
        text(x, y + 6, f"Why is cluster {entry.cell_set} a {entry.label}?", 18),
        text(x, y + 30, f"{entry.curie} · confidence {entry.confidence:.2f} · FDR {entry.fdr:.0e}", 13, "soft"),
        text(x, y + 62, "gene", 12, "soft"),
        text(x + 90, y + 62, "share of the evidence", 12, "soft"),
        text(x + 270, y + 62, "sources, publications", 12, "soft"),
    ]
    direct = {walk.gene: walk.steps[0] for walk in best.walks if walk.hops == 1}
    genes = sorted((gene for gene in best.genes if gene.curie in direct), key=lambda gene: -gene.contribution)[:8]
    most = max(gene.contribution for gene in genes)
    for i, gene in enumerate(genes):
        line = y + 88 + 32 * i
        edges = direct[gene.curie]
        papers = sum(edge.n_publications for edge in edges)
        drawn += [
            text(x, line, gene.symbol, 14),
            f'<rect x="{x + 90}" y="{line - 11}" width="160" height="12" rx="3" class="track"/>',
            f'<rect x="{x + 90}" y="{line - 11}" width="{160 * gene.contribution / most:.1f}" height="12" rx="3" '
            'class="bar"/>',
            text(x + 270, line, f"{len({edge.source for edge in edges})} sources, {papers} papers", 13, "soft"),
        ]
    against = ", ".join(objections(entry)) or "nothing that was measured"
    drawn.append(text(x, y + 100 + 32 * len(genes), f"Speaks against it: {against}.", 13, "soft"))
    return drawn


def main(source: Path, output: Path) -> None:
    """Draw one annotated file."""
    adata = ad.read_h5ad(source)
    entries = results(adata)
    shown = next(entry for entry in entries if entry.label == "B cell")
    body = "\n".join([*cells(adata, "louvain"), *card(shown)])
    title = "Left: 700 blood cells, coloured and named by gather. Right: the genes behind one of the calls."
    output.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">'
        f"<title>{title}</title><style>{STYLE}</style>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" class="page"/>\n{body}\n</svg>\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
