"""Made-up files from which a small fresh set comes: four blood types in cells and in three sets of profiles."""

import json
from pathlib import Path

import numpy as np

PLANTED = {
    "CL:0000084": ("T cell", "CD3D CD3E IL7R CD8A TRAC CD2 CD27 LCK LTB TCF7 CCR7 SELL CD5"),
    "CL:0000236": ("B cell", "MS4A1 CD79A CD79B CD19 PAX5"),
    "CL:0001054": ("CD14-positive monocyte", "LYZ CD14 S100A9 CST3"),
    "CL:0000451": ("dendritic cell", "FCER1A CD1C CLEC10A"),
}
GENES = sorted(
    {g for _name, genes in PLANTED.values() for g in genes.split()} | {f"HOUSE{i}" for i in range(280)}
)
PROFILES = ("h_adult_heart_hca", "h_adult_skin_hca", "h_adult_muscle_demicheli")


def write_mirror(folder: Path) -> Path:
    """Write the files where the table of sets looks for them, and a screen of six rows; return the folder."""
    import anndata
    import pandas as pd

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
        rows.append(
            {
                "cell_type": "A549",
                "condition": f"{regulator}+ctrl",
                "up_genes": [regulator, *asked[: 3 + number % 2]],
                "down_genes": asked[3 + number % 2 :],
                "ctrl_sentence": " ".join(genes),
                "pert_sentence": " ".join(map(str, rng.permutation(genes))),
            }
        )
    (folder / "scarena").mkdir(exist_ok=True)
    (folder / "scarena" / "test_perturbation.json").write_text(json.dumps(rows))
    return folder
