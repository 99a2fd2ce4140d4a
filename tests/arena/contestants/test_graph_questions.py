"""Questions that the graph answers: the node that the genes of each half single out, told by relation and sign."""

import pandas as pd
import pytest

from arena.contestants import graph_questions
from arena.datasets.virtual_cell import Question, VirtualCell
from arena.tasks.samples import view_all
from arena.types import Sample
from vckg.graph.graph import Graph

FORM = " Name both, in the form [Answer: First: NAME. Second: NAME.]"
GENES = ("TFA1", "TFB1", "TFC1", "AAA1", "BBB1", "CCC1", "DDD1", "EEE1", "FFF1", "GGG1")


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Three factors with targets in common; on one of them two act with opposite signs."""
    nodes = [{"id": f"HGNC:{i}", "category": "Gene", "name": name} for i, name in enumerate(GENES)]
    nodes += [
        {"id": f"CL:{i}", "category": "Cell", "name": name} for i, name in enumerate(("T cell", "B cell"))
    ]
    known = {node["name"]: node["id"] for node in nodes}

    def edge(
        subject: str, relation: str, end: str, sign: int = 0, publications: tuple[str, ...] = ()
    ) -> dict:
        ends = {"subject": known[subject], "object": known[end]}
        return ends | {
            "relation": relation,
            "source": "toy",
            "sign": sign,
            "publications": list(publications),
        }

    edges = [
        *(edge("TFA1", "regulates", gene, 1) for gene in ("AAA1", "BBB1")),
        edge("TFA1", "regulates", "CCC1", -1),
        *(edge("TFB1", "regulates", gene, 1) for gene in ("AAA1", "BBB1", "CCC1")),
        *(
            edge("TFC1", "regulates", gene, 1)
            for gene in ("AAA1", "BBB1", "CCC1", "DDD1", "EEE1", "FFF1", "GGG1")
        ),
        edge("AAA1", "is_marker_for", "T cell", publications=("PMID:1",)),
        edge("BBB1", "is_marker_for", "B cell"),
        edge("CCC1", "ligand_receptor", "DDD1"),
    ]
    return Graph.from_frames(pd.DataFrame(nodes), pd.DataFrame(edges))


def asking(text: str) -> Sample:
    cell = VirtualCell("q", "toy", questions=(Question("kind", text, "answer", ("claim",)),))
    return view_all([cell], "qa", seed=0)[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "The first activates AAA1 and BBB1, and it represses CCC1; the second activates EEE1, FFF1 and GGG1. "
            "Which factor is each?",
            "First: TFA1. Second: TFC1.",  # TFB1 has all six, the sign of one is another
        ),
        ("A first group has AAA1, a second BBB1. Which cell type is each?", "First: T cell. Second: B cell."),
        (
            "Cells carry DDD1 as a first receptor and AAA1 as a second. Which ligand binds each?",
            "First: CCC1.",
        ),
        ("CCC1 is a first ligand and AAA1 a second. Name the receptor of each.", "First: DDD1."),
    ],
)
def test_each_half_is_answered_by_the_edges_that_it_asks_for(graph: Graph, text: str, said: str) -> None:
    assert graph_questions.answer(asking(text + FORM), graph) == {"answer": said}


def test_the_evidence_of_a_half_says_which_and_where_it_is_from(graph: Graph) -> None:
    text = "A first group has AAA1, a second BBB1. Which cell type is each?"
    lines = [fact.line for fact in graph_questions.facts(asking(text + FORM), graph)]
    assert lines == [
        "First: AAA1 is marker for T cell (toy; PMID:1)",
        "Second: BBB1 is marker for B cell (toy)",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("How does TFA1 act on CCC1?", "TFA1 represses CCC1."),
        ("What does AAA1 tell?", "AAA1 is marker for T cell."),
        ("What is known of NOGENE1?", None),
        ("Which cell type is each of AAA1, BBB1 and CCC1?" + FORM, "AAA1 is marker for T cell."),
    ],
)
def test_other_questions_are_answered_by_what_joins_the_genes(
    graph: Graph, text: str, said: str | None
) -> None:
    found = graph_questions.answer(asking(text), graph)
    assert (found is None) is (said is None)
    if found and said:
        assert found["answer"].startswith(said)


def test_many_sources_of_one_type_outweigh_one_source_of_another() -> None:
    """One resource calls islet genes markers of another "alpha cell"; thirteen name the right type."""
    nodes = [
        {"id": "HGNC:1", "category": "Gene", "name": "GCG1"},
        {"id": "HGNC:2", "category": "Gene", "name": "OTHER1"},
        {"id": "CL:1", "category": "Cell", "name": "retinal alpha cell"},
        {"id": "CL:2", "category": "Cell", "name": "islet alpha cell"},
    ]
    edges = [
        {"subject": "HGNC:1", "object": end, "relation": "is_marker_for", "source": source}
        for end, sources in (("CL:1", ["a"]), ("CL:2", ["a", "b", "c"]))
        for source in sources
    ]
    graph = Graph.from_frames(pd.DataFrame(nodes), pd.DataFrame(edges))
    text = "A first group has GCG1, a second OTHER1. Which cell type is each?"
    assert graph_questions.answer(asking(text + FORM), graph) == {"answer": "First: islet alpha cell."}
