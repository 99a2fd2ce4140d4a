"""The paper's protocol: equal to the official scripts on a small file, and to a definition in plain words."""

import hashlib
import json
import math
import random

import numpy as np
import pytest

from gather.benchmark.paper_protocol import official_cells, paper_set, paper_sets
from tests.gather.benchmark.paper_form import public_form
from vckg.base.errors import InputError

pytestmark = pytest.mark.filterwarnings(
    "ignore::anndata.ImplicitModificationWarning", "ignore:Variable names are not unique:UserWarning"
)
#: SHA-256 of the JSON lines that the official scripts write for `public_form`, and how many lines.
OFFICIAL = {
    ("immune", False): ("074a62480c6d143974ff57396d9f10b9757aab2c6b13c7e8d7792509df327d99", 12),
    ("immune", True): ("fd62540c58933586657bc0d44b2100b836616787f58c4339d7a6a3feb3f9efe9", 4),
    ("lung", False): ("273d1b86fbec6825e9c353c20f5ae28482b2e4aa589edc20ae0961dd85584190", 12),
    ("lung", True): ("ed74b0c65e1bf408736184cdf3fbb7653731a834490ddfc0ff23d355e240616a", 4),
}


@pytest.mark.parametrize(("name", "small"), OFFICIAL)
def test_cells_sentences_and_order_are_those_of_the_official_scripts(name, small):
    cells = official_cells(public_form(name), paper_set(name), small=small)
    lines = [
        json.dumps({"cell_sentence": " ".join(c.genes), "cell_type": c.label, "num_genes": len(c.genes)})
        + "\n"
        for c in cells
    ]
    assert (hashlib.sha256("".join(lines).encode()).hexdigest(), len(lines)) == OFFICIAL[name, small]


@pytest.mark.parametrize("name", ["immune", "lung"])
def test_the_protocol_is_its_definition_cell_by_cell(name):
    adata, test_set = public_form(name), paper_set(name)
    values = adata.raw if test_set.raw else adata
    counts, genes = values.X.toarray(), list(values.var_names)
    labels = adata.obs[test_set.label].tolist()
    drawing = random.Random(42)
    rows = []
    for label in sorted(set(labels) - set(test_set.excluded)):
        of_label = [i for i, other in enumerate(labels) if other == label]
        rows += drawing.sample(of_label, math.ceil(0.1 * len(of_label)))
    drawing.shuffle(rows)
    rarity = {gene: math.log(120 / ((counts[:, g] > 0).sum() + 1)) for g, gene in enumerate(genes)}
    cells = official_cells(adata, test_set)
    assert [cell.row for cell in cells] == rows
    for cell in cells:
        strength = {
            g: float(np.log1p(counts[cell.row, g])) * rarity[gene]
            for g, gene in enumerate(genes)
            if counts[cell.row, g] > 0 and not test_set.gene_filter.search(gene)
        }
        best = sorted(strength, key=lambda g: (-round(strength[g], 12), g))[:50]
        assert cell.genes == tuple(genes[g] for g in best)
        assert cell.label == test_set.renamed.get(labels[cell.row], labels[cell.row])


@pytest.mark.parametrize(
    ("genes", "in_immune", "in_lung"),
    [
        (["RPL3", "rpsa", "MT-ND1", "ATP1A2", "CTD-2", "LINC00861", "AC012345.1", "FOO-AS1", "BAR-DT"], 1, 1),
        (["CD3D", "CTE-1", "AC1234.1", "B2MX", "TMSB101", "LINCR", "MT2A"], 0, 0),
        (["RNU6", "RN7SK", "MIR21", "SNORD3", "RF00019"], 0, 1),
    ],
)
def test_the_gene_filters_drop_what_the_scripts_drop(genes, in_immune, in_lung):
    for name, dropped in (("immune", in_immune), ("lung", in_lung)):
        found = [gene for gene in genes if paper_set(name).gene_filter.search(gene)]
        assert found == (genes if dropped else [])


def test_the_closed_lists_have_34_and_30_names():
    sizes = {name: len(set(facts.candidates)) for name, facts in paper_sets().items()}
    assert sizes == {"immune": 34, "lung": 30}
    lung = paper_set("lung")
    assert set(lung.renamed.values()) <= set(lung.candidates)
    assert not set(lung.excluded) & set(lung.candidates)


def test_a_file_without_its_labels_or_raw_values_is_refused():
    cells = public_form("lung")
    with pytest.raises(InputError, match=r"no column 'cell_type' in obs.*two_donors.h5ad"):
        official_cells(cells, paper_set("immune"))
    cells.raw = None
    with pytest.raises(InputError, match=r"no \.raw in the file; wanted .*TS_Lung"):
        official_cells(cells, paper_set("lung"))
    with pytest.raises(InputError, match=r"no data set 'lungs'.*did you mean 'lung'"):
        paper_set("lungs")
