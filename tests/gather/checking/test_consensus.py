"""The consensus of several columns: hand-worked answers, and properties against a slow definition."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gather.checking.consensus import agree
from gather.ontology import Ontology

CD4, MEMORY, T, B, LYMPHOCYTE = "CL:0000624", "CL:0000897", "CL:0000084", "CL:0000236", "CL:0000542"
"""The truth, an over-fine and an over-coarse version of it, a wrong one, and what right and wrong have in common."""


@pytest.mark.data
@pytest.mark.parametrize(
    ("votes", "weights", "term", "share", "off"),
    [
        ([CD4, MEMORY, T], None, CD4, 2 / 3, []),
        ([CD4, MEMORY, B], None, CD4, 2 / 3, [2]),
        ([CD4, T, B], None, T, 2 / 3, [2]),
        ([MEMORY, T, B], None, T, 2 / 3, [2]),
        ([CD4, MEMORY, T, B], None, T, 3 / 4, [3]),
        ([CD4, MEMORY, T, B], [2, 1, 1, 1], CD4, 3 / 5, [3]),
        ([CD4, B], None, LYMPHOCYTE, 1.0, []),
        ([CD4, B], [1, 2], B, 2 / 3, [0]),
        ([B, B, MEMORY], None, B, 2 / 3, [2]),
        ([T], None, T, 1.0, []),
    ],
)
def test_hand_worked_answers_in_the_cell_ontology(core_graph, votes, weights, term, share, off):
    ontology = Ontology.of_cells(core_graph)
    found = agree(ontology, [ontology.position(vote) for vote in votes], weights)
    assert found.term is not None
    assert (ontology.terms[found.term], list(found.off)) == (term, off)
    assert found.share == pytest.approx(share)


def test_what_says_too_little_is_no_consensus_and_everybody_is_off_it():
    """A root over two branches has no information: two columns that differ agree on nothing."""
    ontology = Ontology(["a", "b", "c"], np.array([1, 2]), np.array([0, 0]))
    assert agree(ontology, [1, 2]).term == 0
    found = agree(ontology, [1, 2], vague=0.1)
    assert (found.term, found.share, found.off) == (None, 0.0, (0, 1))
    assert agree(ontology, []).term is None


@st.composite
def questions(draw):
    """An acyclic hierarchy of up to nine terms with one pair of equivalents, and some weighted votes."""
    n = draw(st.integers(2, 9))
    edges = [
        (low, draw(st.integers(0, low - 1))) for low in range(1, n) for _ in range(draw(st.integers(0, 2)))
    ]
    low, high = (np.array(side, dtype=np.int32) for side in zip(*edges, strict=True)) if edges else ([], [])
    terms = [f"t{i}" for i in range(n)]
    same = draw(st.lists(st.sampled_from(terms), min_size=2, max_size=2, unique=True))
    ontology = Ontology(terms, np.array(low, np.int32), np.array(high, np.int32), equivalent=[same])
    votes = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))
    return ontology, votes, draw(st.lists(st.integers(1, 4), min_size=len(votes), max_size=len(votes)))


@given(questions(), st.randoms(use_true_random=False))
def test_the_order_of_columns_does_not_matter(question, random):
    ontology, votes, weights = question
    order = list(range(len(votes)))
    random.shuffle(order)
    first = agree(ontology, votes, weights)
    other = agree(ontology, [votes[i] for i in order], [weights[i] for i in order])
    assert (first.term, first.share) == (other.term, other.share)
    assert set(first.off) == {order[i] for i in other.off}


@given(questions(), st.data())
def test_a_copy_of_a_column_changes_nothing_but_its_weight(question, data):
    ontology, votes, weights = question
    i = data.draw(st.integers(0, len(votes) - 1))
    doubled = [w * 2 if j == i else w for j, w in enumerate(weights)]
    first = agree(ontology, votes, doubled)
    copied = agree(ontology, [*votes, votes[i]], [*weights, weights[i]])
    assert (first.term, first.share) == (copied.term, copied.share)
    assert set(first.off) == {j for j in copied.off if j < len(votes)}


@given(questions())
def test_it_is_the_deepest_term_of_a_majority(question):
    ontology, votes, weights = question

    def above(term):
        return {a for e in ontology.equivalents(term) for a in (e, *ontology.ancestors(e).tolist())}

    support = {
        t: sum(w for v, w in zip(votes, weights, strict=True) if t in above(v)) for t in range(len(ontology))
    }
    majority = {t: s for t, s in support.items() if 2 * s > sum(weights)}
    found = agree(ontology, votes, weights)
    if not majority:
        assert found.term is None
        return
    depth = {t: ontology.information[t] for t in majority}
    assert found.term in majority
    assert depth[found.term] == max(depth.values())
    assert found.share == pytest.approx(majority[found.term] / sum(weights))
    rivals = [t for t in majority if depth[t] == depth[found.term]]
    assert found.term == min(rivals, key=lambda t: (-majority[t], t))


@given(questions())
def test_more_weight_on_a_column_never_leads_away_from_it(question):
    """The first vote's support of the consensus stays once it has it, however heavy it grows."""
    ontology, votes, weights = question
    grown = [agree(ontology, votes, [weights[0] * factor, *weights[1:]]) for factor in (1, 2, 100)]
    for lighter, heavier in pairwise(grown):
        assert 0 in heavier.supports or 0 not in lighter.supports
    assert 0 in grown[-1].supports
