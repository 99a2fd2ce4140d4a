"""Questions without dispute: markers of one type alone, factors without kin, partners of one direction."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import pytest

from arena.datasets import questions
from arena.datasets.admission import Admission
from arena.datasets.facts import replicated, resource_of
from arena.datasets.lineages import CellTerms
from arena.datasets.questions import RECEPTOR, RNA, Half, stem
from vckg.graph.graph import Graph

NODE = ["id", "category", "name", "description"]
EDGE = ["subject", "relation", "object", "source", "sign", "publications"]
FOUR = ("cellmarker", "panglaodb", "celltypist", "singlecellbase")
TYPES = {
    "CL:0000000": ("cell", None),
    "CL:0000084": ("T cell", "CL:0000000"),
    "CL:0000815": ("regulatory T cell", "CL:0000084"),
    "CL:0000945": ("lymphocyte of B lineage", "CL:0000000"),
    "CL:0000236": ("B cell", "CL:0000945"),
}
T, TREG, B = "CL:0000084", "CL:0000815", "CL:0000236"


def graph_of(markers: Sequence[tuple[str, str, int]], described: dict[str, str] | None = None) -> Graph:
    """A graph in which so many resources, each with two publications, name a gene as a marker of a type."""
    genes = sorted({gene for gene, _cell, _n in markers})
    curie = {gene: f"HGNC:{i}" for i, gene in enumerate(genes)}
    nodes = [(i, "Cell", name, "") for i, (name, _parent) in TYPES.items()]
    nodes += [(curie[gene], "Gene", gene, (described or {}).get(gene, "")) for gene in genes]
    edges = [(i, "subclass_of", parent, "cl", 0, []) for i, (_n, parent) in TYPES.items() if parent]
    for gene, cell, n in markers:
        edges += [
            (curie[gene], "is_marker_for", cell, source, 0, ["PMID:1", "PMID:2"]) for source in FOUR[:n]
        ]
    return Graph.from_frames(pd.DataFrame(nodes, columns=NODE), pd.DataFrame(edges, columns=EDGE))


def shown(graph: Graph) -> dict[str, list[str]]:
    """The panel of each type that is asked for."""
    entry = Admission(CellTerms(graph), 0)
    return {graph.ids[h.node]: [graph.names[g] for g in h.shown] for h in questions._types(graph, entry)}


def test_the_best_attested_markers_are_shown_first() -> None:
    graph = graph_of([(f"G{n}{i}", T, n) for n in (2, 3, 4) for i in range(2)])
    assert shown(graph) == {T: ["G40", "G41", "G30", "G31"]}


@pytest.mark.parametrize(
    ("cell", "n", "asked"),
    [
        (B, 1, True),  # one resource alone states a type of another lineage
        (B, 2, False),
        (TREG, 3, True),  # a kind of the type may be level with it
        (TREG, 4, False),
    ],
)
def test_a_marker_that_tells_another_type_as_well_is_not_shown(cell: str, n: int, asked: bool) -> None:
    graph = graph_of([*((f"G{i}", T, 3) for i in range(4)), ("G0", cell, n)])
    assert (T in shown(graph)) is asked


def test_what_is_better_known_for_the_type_above_does_not_ask_for_a_kind() -> None:
    for n, asked in ((2, True), (4, False)):
        graph = graph_of([*((f"G{i}", TREG, 3) for i in range(4)), *((f"G{i}", T, n) for i in range(3))])
        assert (TREG in shown(graph)) is asked


def test_one_resource_is_not_two() -> None:
    assert resource_of("accordion:MSigDB") == resource_of("msigdb_cells")
    assert not resource_of("sctype")
    assert shown(graph_of([(f"G{i}", T, 1) for i in range(4)])) == {}


@pytest.mark.parametrize(
    ("name", "described", "out"),
    [
        ("TRAV12-1", "", True),
        ("IGLC2", "", True),
        ("TRA", "T cell receptor alpha locus", True),
        ("TRAC", "", True),
        ("IGHG1", "", True),
        ("TRAT1", "", False),
        ("TRA2A", "transformer 2 alpha homolog", False),
        ("TRADD", "TNFRSF1A associated via death domain", False),
        ("IGHMBP2", "immunoglobulin mu DNA binding protein 2", False),
        ("IGLL5", "immunoglobulin lambda like polypeptide 5", False),
        ("FOXP3-AS1", "FOXP3 antisense RNA 1", True),
        ("LINC00861", "long intergenic non-protein coding RNA 861", True),
        ("NEAT1", "nuclear paraspeckle assembly transcript 1", True),
        ("CD3D", "CD3 delta subunit of T-cell receptor complex", False),
    ],
)
def test_only_what_can_be_stained_for_is_shown(name: str, described: str, out: bool) -> None:
    assert bool(RECEPTOR.match(name) or RNA.search(described)) is out
    graph = graph_of([*((f"G{i}", T, 3) for i in range(3)), (name, T, 3)], {name: described})
    assert (T in shown(graph)) is not out


def test_no_two_answers_of_a_question_are_on_one_line(fresh_graph: Graph) -> None:
    """Slow definition: every pair that is drawn is apart, and no two of those left over are."""
    entry = Admission(CellTerms(fresh_graph), 0)
    cells: list[int] = fresh_graph.nodes_of("Cell").tolist()
    halves = [Half(cell, (-n,), ()) for n, cell in enumerate(cells, start=1)]
    pairs = list(questions._pairs(halves, fresh_graph, entry))
    assert pairs
    for first, second in pairs:
        assert not entry.agree(fresh_graph.ids[first.node], fresh_graph.ids[second.node])
    left = [half for half in halves if all(half not in pair for pair in pairs)]
    assert all(entry.agree(fresh_graph.ids[a.node], fresh_graph.ids[b.node]) for a, b in pairwise(left))


def regulated(acts: Sequence[tuple[str, str, int]]) -> list[str]:
    """The factors that are asked for."""
    genes = sorted({gene for a, b, _sign in acts for gene in (a, b)})
    edges = [
        (f"HGNC:{genes.index(a)}", "regulates", f"HGNC:{genes.index(b)}", source, sign, [f"PMID:{n}"])
        for a, b, sign in acts
        for n, source in enumerate(("trrust", "collectri"))
    ]
    graph = Graph.from_frames(
        pd.DataFrame([(f"HGNC:{i}", "Gene", g, "") for i, g in enumerate(genes)], columns=NODE),
        pd.DataFrame(edges, columns=EDGE),
    )
    halves = questions._regulators(graph, Admission(None, 0))  # type: ignore[arg-type]
    return [graph.names[half.node] for half in halves]


SP1 = [("SP1", "UPA", 1), ("SP1", "UPB", 1), ("SP1", "UPC", 1), ("SP1", "DOWN", -1)]


def test_a_factor_whose_kin_acts_on_the_same_targets_is_not_asked_for() -> None:
    assert regulated(SP1) == ["SP1"]
    assert regulated([*SP1, *(("SP3", target, sign) for _sp1, target, sign in SP1)]) == []
    assert regulated([*SP1, *(("SP3", target, 0) for _sp1, target, _sign in SP1)]) == []
    assert "SP1" in regulated([*SP1, ("SP3", "UPA", 1)])


def test_targets_on_which_no_kin_acts_come_first() -> None:
    genes = [*SP1, ("SP1", "UPD", 1), ("SP3", "UPA", 1)]
    assert regulated([*genes, *((f"OTHER{i}", "UPD", 1) for i in "ABCD")]) == ["SP1"]


def test_a_family_is_what_its_symbols_share_up_to_the_number() -> None:
    assert len({stem(name) for name in ("E2F1", "E2F4", "E2F8")}) == 1
    assert stem("STAT5A") == stem("STAT5B") == stem("STAT1")
    assert stem("SP1") != stem("SPI1")


def partners(pairs: Sequence[tuple[str, str]], *, ligands: bool) -> list[str]:
    genes = sorted({gene for pair in pairs for gene in pair})
    edges = [
        (f"HGNC:{genes.index(a)}", "ligand_receptor", f"HGNC:{genes.index(b)}", source, 0, ["PMID:1"])
        for a, b in pairs
        for source in ("cellphonedb", "liana:cellchatdb")
    ]
    graph = Graph.from_frames(
        pd.DataFrame([(f"HGNC:{i}", "Gene", g, "") for i, g in enumerate(genes)], columns=NODE),
        pd.DataFrame(edges, columns=EDGE),
    )
    return sorted(graph.names[half.node] for half in questions._partners(graph, ligands=ligands))


def test_no_ligand_is_a_receptor_of_another() -> None:
    assert partners([("LA", "RA"), ("LB", "RB")], ligands=True) == ["RA", "RB"]
    assert partners([("LA", "RA"), ("LB", "RB"), ("X", "LA")], ligands=True) == ["RB"]
    assert partners([("LA", "RA"), ("LB", "RB"), ("RA", "X")], ligands=False) == ["LB"]


def test_every_question_of_the_real_graph_keeps_the_rules(core_graph: Graph) -> None:
    """Slow definitions, edge by edge."""
    entry = Admission(CellTerms(core_graph), 7)
    ontology = entry.terms.ontology
    for cell in questions.questions(core_graph, entry):
        asked = cell.questions[0]
        edges = [tuple(edge[:3]) for edge in asked.provenance["edges"]]
        names = [claim.partition(": ")[2] for claim in asked.claims]
        if asked.kind == "cell types":
            first, second = (core_graph.cells.ground([name])[0].curie for name in names)
            assert not entry.agree(str(first), str(second))
            for gene, _relation, target in edges:
                lineage = ontology.lineage(ontology.position(target))
                facts = [
                    core_graph.ids[c]
                    for g, c in replicated(core_graph, "is_marker_for")
                    if core_graph.ids[g] == gene and core_graph.ids[c] in ontology
                ]
                others = {ontology.lineage(ontology.position(c)) for c in facts}
                assert others <= {None, lineage}
        else:
            assert stem(names[0]) != stem(names[1])
