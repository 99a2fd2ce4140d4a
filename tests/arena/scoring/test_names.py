"""Names as biologists write them: Greek letters, hyphens, full names, abbreviations, and what stays unknown."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.scoring.gene_names import SHORTEST, GeneNames, full_key, short_key
from arena.scoring.grounding import names_of
from gather.retrieval.cell_names import tool_labels
from vckg.graph.graph import Graph

NODE = ["id", "category", "name", "synonyms", "description"]
GENES = [
    ("HGNC:1", "Gene", "PPARA", ("hPPAR",), "peroxisome proliferator activated receptor alpha"),
    ("HGNC:2", "Gene", "IRF1", ("MAR",), "interferon regulatory factor 1"),
    ("HGNC:3", "Gene", "ESR1", ("ER-alpha", "Era"), "estrogen receptor 1"),
    ("HGNC:4", "Gene", "SELE", ("ELAM1",), "selectin E"),
    ("HGNC:5", "Gene", "SELP", ("ELAM-1X",), "selectin P"),
    ("HGNC:6", "Gene", "AAA1", ("DUP-1",), "first thing"),
    ("HGNC:7", "Gene", "BBB1", ("DUP1",), "second thing"),
    ("HGNC:8", "Gene", "NKX2-1", ("TTF-1",), "NK2 homeobox 1"),
    ("HGNC:9", "Gene", "NKX21", (), "another thing"),
    ("HGNC:10", "Gene", "IL1R2", (), "interleukin 1 receptor type 2"),
]


@pytest.fixture(scope="module")
def genes() -> GeneNames:
    empty = pd.DataFrame(columns=["subject", "relation", "object", "source"])
    return GeneNames(Graph.from_frames(pd.DataFrame(GENES, columns=NODE), empty))


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("PPARα", "HGNC:1"),
        ("PPAR-alpha", "HGNC:1"),
        ("Ppar-α", "HGNC:1"),
        ("IRF-1", "HGNC:2"),
        ("interferon regulatory factor 1", "HGNC:2"),
        ("Interferon-regulatory factor 1", "HGNC:2"),
        ("ERα", "HGNC:3"),
        ("oestrogen receptor alpha", "HGNC:3"),
        ("E-selectin", "HGNC:4"),
        ("P-selectin", "HGNC:5"),
        ("NKX2.1", "HGNC:8"),  # a sign between digits stays, or NKX2-1 would be NKX21
        ("DUP-1", None),  # two genes have it
        ("interleukin 2 receptor type 1", None),  # numbers keep their places
        ("factor 1", None),
        ("α", None),
    ],
)
def test_a_gene_is_found_by_its_usual_spellings(name: str, gene: str | None, genes: GeneNames) -> None:
    assert genes.find(name) == gene


@settings(deadline=None)
@given(st.text("abp12-.α βalph", max_size=8))
def test_a_gene_is_found_where_one_gene_alone_has_the_key(name: str) -> None:
    rows = [
        ("HGNC:1", "Gene", "ABP1", ("BP-α",), "a b 1"),
        ("HGNC:2", "Gene", "ABP2", ("BPB", "BPA"), "b a"),
        ("HGNC:3", "Gene", "A1-2", ("PAB",), "a b"),
    ]
    empty = pd.DataFrame(columns=["subject", "relation", "object", "source"])
    found = GeneNames(Graph.from_frames(pd.DataFrame(rows, columns=NODE), empty)).find(name)
    key, words = short_key(name), full_key(name)
    symbol = {i for i, _c, n, _s, _d in rows if short_key(n) == key}
    alias = {i for i, _c, _n, s, _d in rows if key in map(short_key, s)}
    full = {i for i, _c, _n, s, d in rows if " " in words and words in map(full_key, (d, *s))}
    deciding = symbol or alias or full
    assert found == (min(deciding) if len(deciding) == 1 and len(key) >= SHORTEST else None)


@given(st.text("ABCS12-", min_size=1, max_size=6), st.sampled_from(["alpha", "beta", "gamma", "kappa"]))
def test_a_greek_letter_has_one_key_however_it_is_written(stem: str, greek: str) -> None:
    letter = {"alpha": "α", "beta": "β", "gamma": "γ", "kappa": "κ"}[greek]
    keys = {short_key(stem + form) for form in (letter, greek, greek.upper(), f"-{greek}", f" {letter}")}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("alpha cell", "pancreatic A cell"),
        ("α-cells", "pancreatic A cell"),
        ("islet alpha cell", "pancreatic A cell"),
        ("pancreatic alpha cell", "pancreatic A cell"),
        ("islet beta cell", "type B pancreatic cell"),
        ("pancreatic islet β-cells", "type B pancreatic cell"),
        ("gamma cell", "pancreatic PP cell"),
        ("conventional DC", "conventional dendritic cell"),
        ("plasmacytoid DC", "plasmacytoid dendritic cell"),
        ("cDC1", "CD141-positive myeloid dendritic cell"),
        ("type 1 conventional dendritic cell", "CD141-positive myeloid dendritic cell"),
        ("conventional type 1 dendritic cells", "CD141-positive myeloid dendritic cell"),
        ("CD141+ dendritic cell", "CD141-positive myeloid dendritic cell"),
        ("TA cell", "transit amplifying cell"),
        ("enteric glia", "enteroglial cell"),
        ("lymphatic endothelium", "endothelial cell of lymphatic vessel"),
        ("spermatogonial stem cell", "spermatogonium"),
        ("rod photoreceptor cell", "retinal rod cell"),
        ("CD4+ effector memory T cell", "effector memory CD4-positive, alpha-beta T cell"),
        ("CD8+ T cells, central memory", None),
        ("hepatic stellate cell", "hepatic stellate cell"),
        ("liver parenchymal cell", "hepatocyte"),
        ("skeletal muscle cell", "skeletal muscle fiber"),
        ("crypt base columnar cell", "intestinal crypt stem cell"),
        ("monocyte-dendritic cell progenitor", "macrophage dendritic cell progenitor"),
        ("Non-classical monocytes", "non-classical monocyte"),
        ("CD4+ αβ T cells", "CD4-positive, alpha-beta T cell"),
        ("CD8αβ T cell", "CD8-positive, alpha-beta T cell"),
        ("Lymphatic ECs", "endothelial cell of lymphatic vessel"),
        ("Mφ", "macrophage"),
        ("retinal ganglion cell", "retinal ganglion cell"),
    ],
)
def test_a_cell_type_is_found_by_its_usual_names(text: str, name: str | None, core_graph: Graph) -> None:
    found = names_of(core_graph).resolve(text)
    assert found.curie
    if name:
        assert core_graph.names[core_graph.index(found.curie)] == name


def test_the_pp_cell_is_the_pancreatic_one(core_graph: Graph) -> None:
    names = names_of(core_graph)
    positions = [names.ontology.position(str(names.resolve(t).curie)) for t in ("PP cell", "gamma cell")]
    assert names.ontology.same(*positions)


def test_every_type_keeps_its_own_label(core_graph: Graph) -> None:
    names = names_of(core_graph)
    for at in names.ontology.nodes.tolist()[::7]:
        assert names.resolve(core_graph.names[at]).curie == core_graph.ids[at]


def test_the_words_of_a_name_backwards_are_no_name(core_graph: Graph) -> None:
    names = names_of(core_graph)
    for label in ("cardiac muscle cell", "plasmacytoid dendritic cell", "islet alpha cell", "mast cell"):
        found = names.resolve(" ".join(reversed(label.split()))).curie
        assert found != names.resolve(label).curie


def test_every_customary_name_is_of_a_type(core_graph: Graph) -> None:
    assert all(cl_id in names_of(core_graph).ontology for cl_id in tool_labels().values())


@pytest.mark.parametrize(
    "text",
    [
        "Non-classical monocyte",
        "Non-classical monocytes expressing FCGR3A.",
        "This is a non-classical monocyte.",
        "nonclassical monocyte of the blood",
    ],
)
def test_a_name_that_begins_with_non_is_no_denial(text: str, core_graph: Graph) -> None:
    found = names_of(core_graph).claimed_type(text).curie
    assert found
    assert core_graph.names[core_graph.index(found)] == "non-classical monocyte"


def test_a_type_behind_non_is_denied(core_graph: Graph) -> None:
    assert "CL:0000084" not in names_of(core_graph).mentions("a non-T cell, non-T cells")
    assert "CL:0000084" not in names_of(core_graph).mentions("Non-T cell")


@pytest.mark.parametrize(
    "names",
    [
        ("T cell", "NK cell"),
        ("monocyte", "macrophage"),
        ("endothelial cell", "pericyte"),
    ],
)
def test_an_answer_of_several_types_says_what_is_above_them_in_any_order(
    names: tuple[str, str], core_graph: Graph
) -> None:
    read = names_of(core_graph)
    ontology = read.ontology
    at = [ontology.position(str(read.resolve(name).curie)) for name in names]
    above = ontology.terms[ontology.lowest_common_ancestor(at)]
    forms = ("{}, {}", "{}/{}", "{} or {}", "{} ({})", "{} (or {})", "{}; {}", "{} / {}", "{}s and {}s")
    for form in forms:
        for one, other in (names, names[::-1]):
            assert read.resolve(form.format(one, other)).curie == above, form


def test_a_type_above_another_of_the_answer_adds_nothing(core_graph: Graph) -> None:
    read = names_of(core_graph)
    for text in ("Schwann cell / glia", "glia, Schwann cell", "Schwann cell (glia)"):
        assert core_graph.names[core_graph.index(str(read.resolve(text).curie))] == "Schwann cell"


def test_a_label_with_a_comma_or_a_slash_is_one_name(core_graph: Graph) -> None:
    read = names_of(core_graph)
    for label in ("CD4-positive, alpha-beta T cell", "naive thymus-derived CD8-positive, alpha-beta T cell"):
        assert core_graph.names[core_graph.index(str(read.resolve(label).curie))] == label
    assert read.resolve("HSC/MPP").how == "abbreviation"
