"""The core distribution works without its extras, and names the one that a step needs."""

import subprocess
import sys
from pathlib import Path

import vckg

ROOT = Path(__file__).parents[2]
HIDDEN = (
    "scanpy",
    "igraph",
    "numba",
    "threadpoolctl",
    "rustworkx",
    "cellxgene_ontology_guide",
    "pooch",
    "sklearn",
)
RUN = f"""
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec.__func__
def without(cls, name, path=None, target=None):
    return None if name.partition(".")[0] in {HIDDEN!r} else find(cls, name, path, target)
PathFinder.find_spec = classmethod(without)

import anndata as ad
import gather, vckg
from vckg.base.errors import InputError

cells, graph = ad.read_h5ad(sys.argv[1]), vckg.Graph.load(sys.argv[2])
gather.annotate(cells, "group", graph=graph)
print(sorted(set(cells.obs["gather_cell_type"])))
for call in (
    lambda: gather.annotate(cells, "auto", graph=graph),
    lambda: gather.annotate(cells, "cell", graph=graph),
    lambda: gather.annotate(cells, "group", graph=graph, ranking="wilcoxon"),
    lambda: gather.pl.confidence(cells),
    lambda: vckg.to_rustworkx(graph),
):
    try:
        call()
    except InputError as error:
        print(error)
assert not set({HIDDEN!r}) & set(sys.modules)
"""


def test_the_core_annotates_without_extras_and_names_what_a_step_needs(
    blood_cells, blood_graph, tmp_path
) -> None:
    blood_cells.write_h5ad(tmp_path / "cells.h5ad")
    vckg.write(blood_graph, tmp_path / "graph")
    words = [sys.executable, "-W", "ignore", "-c", RUN, str(tmp_path / "cells.h5ad"), str(tmp_path / "graph")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines() == [
        "['B cell', 'T cell', 'monocyte']",
        "finding clusters (--groupby auto; or give --groupby the column of clusters) needs scanpy; "
        "run `pip install 'vckg[leiden]'`",
        "--groupby cell needs numba; run `pip install 'vckg[cells]'`",
        "--ranking wilcoxon needs scanpy; run `pip install 'vckg[leiden]'`",
        "gather.pl needs scanpy; run `pip install 'vckg[leiden]'`",
        "to_rustworkx needs rustworkx; run `pip install 'vckg[networks]'`",
    ]
