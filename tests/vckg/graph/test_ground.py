"""Grounding: the two ways to ask (one graph's grounders, whole columns in a build) follow one set of rules."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vckg.graph.graph import Graph
from vckg.graph.grounding import AMBIGUOUS, NAME_KINDS, UNKNOWN, BulkGrounder
from vckg.graph.name_keys import case_key, case_keys, gene_key, label_key, label_keys, normal_key, normal_keys
from vckg.graph.statements import pmids

NODES = pd.DataFrame(
    [
        ("HGNC:1", "Gene", "CD3D", ["T3D"], ["ENSEMBL:ENSG00000167286", "NCBIGene:915"]),
        ("HGNC:2", "Gene", "NCAM1", ["CD56", "P40"], []),
        ("HGNC:3", "Gene", "IL12B", ["P40", "C1Orf112"], []),
        ("HGNC:4", "Gene", "C1orf112", [], []),
        ("CL:1", "Cell", "B cell", ["B lymphocyte"], []),
        ("CL:2", "Cell", "B cell, CD19-positive", ["B-cells"], []),
        ("CL:3", "Cell", "CD4-positive, alpha-beta T cell", ["CD4-positive alpha beta T-lymphocyte"], []),
        ("CL:4", "Cell", "gamma-delta T cell", ["γδ T cell"], []),
    ],
    columns=["id", "category", "name", "synonyms", "xrefs"],
)
NAMES = pd.DataFrame(
    [
        ("CD3D", "genes.previous", "HGNC:2"),
        ("N-CAM", "genes.previous", "HGNC:2"),
        ("N-CAM", "genes.alias", "HGNC:3"),
        ("1-Mar", "genes.excel", "HGNC:1"),
        ("1-Mar", "genes.excel", "HGNC:2"),
        ("HGNC:9", "genes.replaced", "HGNC:4"),
        (normal_key("CD4 T"), "cells.abbreviation", "CL:3"),
        (normal_key("helper"), "cells.mapped", "CL:3"),
        ("CL:99", "cells.replaced", "CL:1"),
    ],
    columns=["name", "kind", "id"],
)


@pytest.fixture(scope="module")
def graph() -> Graph:
    edge = {"subject": "HGNC:1", "relation": "is_marker_for", "object": "CL:1", "source": "a"}
    return Graph.from_frames(NODES, pd.DataFrame([edge]), names=NAMES)


@pytest.mark.parametrize(
    ("name", "curie", "how"),
    [
        ("CD3D", "HGNC:1", "symbol"),  # an approved symbol is not what another gene was once called
        (" CD3D ", "HGNC:1", "symbol"),
        ("anything_ENSG00000167286", "HGNC:1", "ensembl"),  # muscat and scater join symbol and id
        ("anything-ENSG00000167286.7", "HGNC:1", "ensembl"),
        ("ENSG00000167286.7_any_thing", "HGNC:1", "ensembl"),
        ("cd3d_ENSG00000000001", "HGNC:1", "case"),  # the symbol where the id is unknown
        ("_ENSG00000000001", None, "unknown"),
        ("N-CAM", "HGNC:2", "previous"),  # an official name of old comes before an alias
        ("CD56", "HGNC:2", "alias"),
        ("P40", None, "ambiguous"),
        ("1-Mar", None, "ambiguous"),
        ("ENSG00000167286", "HGNC:1", "ensembl"),
        ("ENSG00000167286.12", "HGNC:1", "ensembl"),
        ("ENSEMBL:ENSG00000167286", "HGNC:1", "ensembl"),
        ("ENSG00000167286.12_PAR_Y", "HGNC:1", "ensembl"),
        ("915", "HGNC:1", "entrez"),
        ("NCBIGene:915", "HGNC:1", "entrez"),
        ("HGNC:9", "HGNC:4", "replaced"),
        ("c1orf112", "HGNC:4", "case"),
        ("C1ORF112", "HGNC:4", "case"),
        ("Cd3d", "HGNC:1", "case"),
        ("C1Orf112", "HGNC:4", "case"),  # a symbol in another case goes before an alias of another gene
        ("CD3", None, "unknown"),
        ("", None, "unknown"),
    ],
)
def test_gene_names(graph: Graph, name: str, curie: str | None, how: str) -> None:
    (answer,) = graph.genes.ground([name])
    assert (answer.curie, answer.how) == (curie, how)


def test_an_ambiguous_name_carries_what_it_could_mean(graph: Graph) -> None:
    assert graph.genes.ground(["P40"])[0].candidates == ("HGNC:2", "HGNC:3")


@pytest.mark.parametrize(
    ("name", "curie", "how"),
    [
        ("B cell", "CL:1", "label"),
        ("  b   CELL", "CL:1", "label"),
        ("B cells", "CL:1", "normalised"),  # a label comes before another type's synonym
        ("B-cells", "CL:2", "exact_synonym"),
        ("B lymphocytes", "CL:1", "normalised_synonym"),
        ("CL_99", "CL:1", "replaced"),
        ("cl:1", "CL:1", "id"),
        ("CD4+ alpha-beta T cells", "CL:3", "normalised"),
        ("CD4 T", "CL:3", "abbreviation"),
        ("Helper", "CL:3", "mapped"),
        ("gamma delta T cell", "CL:4", "normalised"),
        ("γδ T cells", "CL:4", "normalised_synonym"),
        ("CD4- T", None, "unknown"),  # the sign is part of the name
        ("T cell", None, "unknown"),  # a part of a name is not the name
    ],
)
def test_cell_labels(graph: Graph, name: str, curie: str | None, how: str) -> None:
    (answer,) = graph.cells.ground([name])
    assert (answer.curie, answer.how) == (curie, how)


def agree(graph: Graph, names: list[str], space: str) -> None:
    bulk = BulkGrounder(graph.name_table, graph.ids, set())
    node, kind = bulk.ground(space, pa.array(names, pa.string()))
    single = (graph.genes if space == "genes" else graph.cells).ground(names)
    for answer, index, code in zip(single, node, kind, strict=True):
        if index >= 0:
            assert (answer.curie, f"{space}.{answer.how}") == (graph.ids[index], NAME_KINDS[code]), answer
        else:
            assert answer.curie is None
            assert (answer.how == "ambiguous") == (index == AMBIGUOUS), answer


def test_columns_and_single_names_are_grounded_alike(graph: Graph) -> None:
    genes = [
        n
        for n in [*NODES["name"], *NAMES["name"], "ENSG00000167286.3", "915", "p40", "zzz", "HGNC:1"]
        if n.strip()
    ]
    agree(graph, genes, "genes")
    agree(graph, [*NODES["name"], "B cells", "cd4 t", "Helper", "zzz", "CL_1", "CL:99"], "cells")


@pytest.mark.data
def test_they_agree_on_thousands_of_real_and_distorted_names(full_graph: Graph) -> None:
    rng = random.Random(0)
    table = full_graph.name_table
    picked = [
        n for n in (table.keys[rng.randrange(len(table.keys))] for _ in range(3000)) if not n.startswith("~")
    ]
    distorted = [
        rng.choice([str.lower, str.upper, str.title, lambda s: f" {s}", lambda s: s + "s"])(n) for n in picked
    ]
    names = [n for n in picked + distorted if n.strip()]
    agree(full_graph, names, "genes")
    agree(full_graph, names, "cells")


@pytest.mark.data
def test_every_customary_cell_name_leads_to_the_class_it_says(full_graph: Graph) -> None:
    from vckg.base.resources import resource

    lines = resource("data", "cell_labels.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    for label, curie, name in rows:
        assert full_graph.names[full_graph.index(curie)] == name
        assert full_graph.cells.ground([label])[0].curie == curie, label


def test_keys() -> None:
    assert gene_key(" ENSG00000167286.10 ") == "ENSG00000167286"
    assert gene_key("RP11-34P13.7") == "RP11-34P13.7"  # a dot that is no version
    assert case_key("Cd3d") == "~CD3D"
    assert label_key("CL_0000084") == label_key("cl:0000084") == "CL:0000084"
    assert normal_key("CD4+ T cells") == "~cd4 positive t cell"
    assert normal_key("CD8-") == "~cd8 negative"
    assert normal_key("T-cell") == "~t cell"
    assert normal_key("Mesenchymal stem/stromal cells") == "~mesenchymal stem stromal cell"
    assert normal_key("endothelium (plexus)") == "~endothelium plexus"
    assert normal_key("pancreatic islets") == "~pancreatic islet"
    assert normal_key("¬T cell") == "~not t cell"


MINUSES = "-\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u207b\u208b\ufe63\uff0d\u02d7\u2796\u2296\u2238\u00ad"
PLUSES = "+\u207a\u208a\ufe62\uff0b\u2795\u2295"
SIGNS = {"positive": [*PLUSES, "pos", " pos", "-pos"], "negative": [*MINUSES, "neg", " neg", "-neg"]}
SIGNS = {word: [*forms, *(f"({f})" for f in forms[:2]), *(f" ({f})" for f in forms[:2]), *(f" {f}" for f in forms[:2])]
         for word, forms in SIGNS.items()}  # fmt: skip
LEVELS = {
    "low": ["low", "lo"],
    "dim": ["dim"],
    "intermediate": ["int"],
    "high": ["hi", "high"],
    "bright": ["bright"],
}
LEVELS = {
    word: [between + form for form in forms for between in ("", " ", "-")] for word, forms in LEVELS.items()
}
MARKS = [(word, form) for word, forms in (SIGNS | LEVELS).items() for form in forms]
SPACED = st.tuples(st.sampled_from(["CD4", "CD8a", "CD45RA", "Ly6C", "Sca1", "PD1"]), st.sampled_from(MARKS))


@given(
    st.lists(SPACED, min_size=1, max_size=4),
    st.sampled_from([" ", ", ", "/", "; "]),
    st.sampled_from(["", " T cell"]),
)
def test_no_sign_of_a_marker_ever_disappears(
    parts: list[tuple[str, tuple[str, str]]], between: str, after: str
) -> None:
    name = between.join(marker + form for marker, (_, form) in parts) + after
    words = " ".join(f"{marker.lower()} {word}" for marker, (word, _) in parts)
    assert normal_key(name) == f"~{words}{after.lower()}"
    assert normal_keys(pa.array([name])).to_pylist() == [normal_key(name)]


@given(
    st.lists(
        st.tuples(st.sampled_from(["CD4", "CD8", "CD25"]), st.sampled_from("+-")), min_size=2, max_size=4
    )
)
def test_signs_of_markers_without_a_space_between_are_kept(parts: list[tuple[str, str]]) -> None:
    name = "".join(marker + sign for marker, sign in parts)
    words = [f"{marker.lower()} {'positive' if sign == '+' else 'negative'}" for marker, sign in parts]
    assert normal_key(f"{name} T cell") == f"~{' '.join(words)} t cell"


@pytest.mark.parametrize("minus", [*MINUSES, "(-)", " (-)", "neg", " neg", " -", " (neg)"])
def test_a_minus_is_never_read_as_a_plus(graph: Graph, minus: str) -> None:
    """``CD4 T`` is an abbreviation of the CD4-positive T cell here, as in the shipped table."""
    for name in (f"CD4{minus} T", f"CD4{minus} T cell", f"CD4{minus}"):
        assert graph.cells.ground([name])[0].how == "unknown", name


UNREADABLE = "\u0304\u0305\u0332\u0336\u0338\u20e0\u00af\u203e\u02c9\u2500\u30fc"
"""Macrons, overlines, strokes and lines, which some write for a minus: as combining marks and as characters."""


@pytest.mark.parametrize("mark", UNREADABLE)
def test_a_mark_that_may_deny_grounds_to_nothing(graph: Graph, mark: str) -> None:
    for name in (f"CD4{mark} T", f"CD4{mark} T cell", f"CD4+{mark} alpha-beta T cells"):
        assert graph.cells.ground([name])[0].how == "unknown", name
        assert normal_keys(pa.array([name])).to_pylist() == [normal_key(name)]
    assert graph.cells.ground(["CD4\u200b T"])[0].curie == "CL:3"  # invisible, says nothing


@pytest.mark.data
@pytest.mark.parametrize("minus", [*MINUSES, "(-)", "neg", *UNREADABLE])
def test_a_minus_is_never_read_as_a_plus_in_the_real_graph(core_graph: Graph, minus: str) -> None:
    for marker in ("CD4", "CD8"):
        names = [f"{marker}{minus} T cell", f"{marker}{minus} T cells", f"{marker}{minus} T-cell"]
        for answer in core_graph.cells.ground(names):
            label = "" if answer.curie is None else core_graph.names[core_graph.index(answer.curie)]
            assert f"{marker}-positive" not in label, answer


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CD4\u207a T cells", "~cd4 positive t cell"),
        ("CD3\u2212CD19\u2212 cell", "~cd3 negative cd19 negative cell"),
        ("Lin-CD34+ cell", "~lin negative cd34 positive cell"),
        ("CD4\u00b1 T", "~cd4 positive negative t"),
        ("CD4++ T", "~cd4 positive t"),
        ("CD4-/- T", "~cd4 negative t"),
        ("CD16\u02e1\u1d52 monocyte", "~cd16 low monocyte"),
        ("T\u2010cell", "~t cell"),
        ("alpha\u2013beta T cell", "~alpha beta t cell"),
        ("IL-17 producing", "~il 17 producing"),
        ("monocyte - classical", "~monocyte classical"),
        ("CD4-positive", "~cd4 positive"),
        ("CD4_-_T_cell", "~cd4 negative t cell"),
        ("T_cell_-_cytotoxic", "~t cell cytotoxic"),
        ("hippo pint", "~hippo pint"),
        ("(-) control", "~control"),
    ],
)
def test_signs_and_hyphens_are_told_apart(name: str, key: str) -> None:
    assert normal_key(name) == key
    assert normal_keys(pa.array([name])).to_pylist() == [key]


def test_publications_are_numbers_or_left_out() -> None:
    cells = pa.array(["1;2;1", "PMID:3", "", "see PMID:4", "PMC5; 6"])
    assert pmids(cells).to_pylist() == [["PMID:1", "PMID:2"], ["PMID:3"], [], [], ["PMID:6"]]


def test_unknown_is_less_than_any_node() -> None:
    assert np.array([UNKNOWN, AMBIGUOUS]).max() < 0


@pytest.mark.data
def test_panglaodbs_names_lead_to_live_classes(full_graph: Graph) -> None:
    from vckg.base.resources import resource

    lines = resource("data", "panglaodb_cells.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    assert len(rows) == 181
    for _, curie, name in rows:
        assert (full_graph.names[full_graph.index(curie)] if curie else "") == name


LABELS = st.lists(
    st.text(st.sampled_from("aAsSzZ019+-,_:.()/~ \t\n\x1fαßé·"), max_size=12)
    | st.sampled_from(
        [
            "CD4neg",
            "CD4(-)",
            "a -b",
            "int",
            "CD4\u2212",
            "CL_0000084",
            "cl:1",
            "CD4+ T cells",
            "islets",
            "virus",
            "class",
            "γδ T cells",
            " B  cell ",
        ]
    )
)


@given(LABELS)
def test_keys_of_a_column_are_those_of_its_names(labels: list[str]) -> None:
    column = pa.array(labels, pa.string())
    assert label_keys(column).to_pylist() == [label_key(x) for x in labels]
    assert normal_keys(column).to_pylist() == [normal_key(x) for x in labels]
    assert case_keys(column).to_pylist() == [f"~{x.upper()}" for x in labels]
