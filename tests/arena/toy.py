"""Made-up files from which a small fresh set comes: four blood types in cells and in three sets of profiles."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from arena.datasets import scarena
from arena.datasets.cell_files import HOUSEKEEPING
from vckg.graph.graph import Graph

PLANTED = {
    "CL:0000084": ("T cell", "CD3D CD3E IL7R CD8A TRAC CD2 CD27 LCK LTB TCF7 CCR7 SELL CD5"),
    "CL:0000236": ("B cell", "MS4A1 CD79A CD79B CD19 PAX5"),
    "CL:0001054": ("CD14-positive monocyte", "LYZ CD14 S100A9 CST3"),
    "CL:0000451": ("dendritic cell", "FCER1A CD1C CLEC10A"),
}
_NAMED = dict(zip((f"HOUSE{i}" for i in range(270, 280)), sorted(HOUSEKEEPING), strict=True))
GENES = [
    _NAMED.get(gene, gene)
    for gene in sorted(
        {g for _name, genes in PLANTED.values() for g in genes.split()} | {f"HOUSE{i}" for i in range(280)}
    )
]
PROFILES = ("h_adult_heart_hca", "h_adult_skin_hca", "h_adult_muscle_demicheli")


def write_mirror(folder: Path) -> Path:
    """Write the files where the table of sets looks for them, and a screen of six rows; return the folder."""
    import anndata

    rng = np.random.default_rng(0)
    house = rng.gamma(2.0, 1.0, len(GENES))

    def mean(cl_id: str) -> np.ndarray:
        planted = np.isin(GENES, PLANTED[cl_id][1].split())
        return np.where(planted, 6.0, house * rng.normal(1, 0.15, len(GENES)).clip(0.3))

    def write(path: Path, values: np.ndarray, labels: list[str], column: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        names = pd.Index([f"row{i}" for i in range(len(labels))])
        obs, var = pd.DataFrame({column: labels}, index=names), pd.DataFrame(index=pd.Index(GENES))
        anndata.AnnData(values.astype(np.float32), obs, var).write_h5ad(path)
        table = path.parent / "label_to_cl.tsv"
        lines = table.read_text().splitlines() if table.is_file() else ["set\tlabel\tcl_id"]
        lines += [f"{path.stem}\t{name}\t{cl_id}" for cl_id, (name, _genes) in PLANTED.items()]
        table.write_text("\n".join(lines) + "\n")

    cells, labels = [], []
    for cl_id, (name, _genes) in PLANTED.items():
        cells.append(rng.poisson(np.tile(mean(cl_id), (40, 1))))
        labels += [name] * 40
    write(
        folder / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad", np.concatenate(cells), labels, "cell_type"
    )
    for stem in PROFILES:
        values = np.log1p(np.stack([mean(cl_id) for cl_id in PLANTED]))
        write(folder / "profiles" / f"{stem}.h5ad", values, [n for n, _g in PLANTED.values()], "label")
    genes = [f"HOUSE{i}" for i in range(40)]
    rows = []
    for number, regulator in enumerate(("GATA1", "MYC", "SPI1", "KLF1", "TAL1", "TNF")):
        asked = [str(g) for g in rng.permutation(genes)[:8]]
        split = 3 + number % 2
        up, down = FRESH_REGULONS.get(regulator, ((), ()))  # the graph knows a few of the genes of some
        rows.append(
            {
                "cell_type": "A549",
                "condition": f"{regulator}+ctrl",
                "up_genes": [regulator, *up[:2], *asked[:split]],
                "down_genes": [*down[:1], *asked[split:]],
                "ctrl_sentence": " ".join(genes),
                "pert_sentence": " ".join(map(str, rng.permutation(genes))),
            }
        )
    (folder / "scarena").mkdir(exist_ok=True)
    (folder / "scarena" / "test_perturbation.json").write_text(json.dumps(rows))
    return folder


# --- a graph for it

FRESH_CELLS = {
    "CL:0000000": ("cell", None),
    "CL:0000738": ("leukocyte", "CL:0000000"),
    "CL:0000542": ("lymphocyte", "CL:0000738"),
    "CL:0000084": ("T cell", "CL:0000542"),
    "CL:0000236": ("B cell", "CL:0000542"),
    "CL:0000623": ("natural killer cell", "CL:0000542"),
    "CL:0000576": ("monocyte", "CL:0000738"),
    "CL:0001054": ("CD14-positive monocyte", "CL:0000576"),
    "CL:0000451": ("dendritic cell", "CL:0000738"),
}
FRESH_MARKERS = {
    "CL:0000084": "CD3D CD3E IL7R CD8A TRAC CD2 CD27 LCK LTB TCF7 CCR7 SELL CD5".split(),  # noqa: SIM905
    "CL:0000236": ["MS4A1", "CD79A", "CD79B", "CD19", "PAX5"],
    "CL:0000576": ["LYZ", "CD14", "S100A9", "CST3"],
    "CL:0000623": ["GNLY", "NKG7", "CCL5", "CD3E"],
}
FRESH_REGULONS = {
    "GATA1": (["KLF1", "HBG1", "HBG2", "TAL1", "CD74"], ["SPI1", "MYC", "CDKN1A", "TNF", "CCL5"]),
    "MYC": (["CD74", "CCR5", "TAL1", "KLF1"], ["CDKN1A", "HBG1", "HBG2", "LYZ"]),
    "SPI1": (["CD14", "LYZ"], ["GATA1"]),  # too few targets of either direction for a sample
}


def make_fresh_graph() -> Graph:
    """Nine cell types, four with markers that cite papers, two usable signed regulons, a ligand with its
    receptor, a tissue."""
    symbols = {g for genes in FRESH_MARKERS.values() for g in genes} | {"CCR5"}
    for regulator, (up, down) in FRESH_REGULONS.items():
        symbols |= {regulator, *up, *down}
    curie = {gene: f"HGNC:{number}" for number, gene in enumerate(sorted(symbols), start=1)}
    nodes = [(i, "Cell", name, f"A {name} of the blood.") for i, (name, _parent) in FRESH_CELLS.items()]
    nodes += [(curie[gene], "Gene", gene, "") for gene in sorted(symbols)]
    nodes.append(("UBERON:0002048", "AnatomicalEntity", "lung", ""))
    edges = [(i, "subclass_of", parent, "cl", 0, []) for i, (_n, parent) in FRESH_CELLS.items() if parent]
    for cell, genes in FRESH_MARKERS.items():
        for source in ("cellmarker", "panglaodb"):
            edges += [(curie[g], "is_marker_for", cell, source, 0, ["PMID:1", "PMID:2"]) for g in genes]
    for regulator, targets in FRESH_REGULONS.items():
        for sign, listed in zip((1, -1), targets, strict=True):
            edges += [
                (curie[regulator], "regulates", curie[t], "collectri", sign, ["PMID:3"]) for t in listed
            ]
    edges.append((curie["CCL5"], "ligand_receptor", curie["CCR5"], "cellphonedb", 0, ["PMID:5"]))
    return Graph.from_frames(
        pd.DataFrame(nodes, columns=["id", "category", "name", "description"]),
        pd.DataFrame(edges, columns=["subject", "relation", "object", "source", "sign", "publications"]),
    )


def scarena_files(mirror: Path) -> scarena.Files:
    """SC-Arena's published files in a mirror."""
    names = (
        "cell_sentences_fixed.jsonl",
        "test_perturbation.json",
        "ScientificQA_final.json",
        "cell_marker.txt",
    )
    return scarena.Files(*(mirror / "scarena" / name for name in names))
