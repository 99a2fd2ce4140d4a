"""The development suite: metrics, groups, other methods."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from gather.benchmark import suite_peers as peers
from gather.benchmark.suite import (
    BEST,
    METRICS,
    OURS,
    Relatives,
    Suite,
    Unit,
    by_group,
    over_groups,
    select,
)
from gather.benchmark.suite_data import Block
from gather.benchmark.suite_report import distances, kept, tables
from gather.ontology import Ontology

TRUTHS = ("CL:0000084", "CL:0000236", "CL:0000576")


@pytest.fixture
def block(blood_graph) -> Block:
    """Three sets of blood, each with the markers of its type."""
    rows = blood_graph.rows("is_marker_for")
    pairs = {
        (blood_graph.ids[int(s)], blood_graph.ids[int(o)])
        for s, o in zip(blood_graph.subject[rows], blood_graph.object[rows], strict=True)
    }
    genes = tuple(sorted({g for g, _ in pairs}))
    strength = np.array([[float((g, t) in pairs) for g in genes] for t in TRUTHS], np.float32)
    strength *= np.linspace(2.0, 1.0, len(genes), dtype=np.float32)
    return Block(
        "file", "study", "human", "blood", "label groups", genes, np.full(len(genes), 0.3, np.float32), strength,
        strength, np.minimum(strength, 1), ("T", "B", "mono"), TRUTHS, ("", "", "coarse"), (10, 10, 10),
    )  # fmt: skip


def unit(group: str, study: str, *values: float) -> Unit:
    return Unit("m", False, "label groups", "human", group, study, "a", values, 1.0, "named")


def test_related_is_within_two_steps_and_never_the_root() -> None:
    edges = np.array([(1, 0), (2, 1), (3, 2), (4, 3)], np.int32)
    terms = ["CL:0000000", "CL:0000001", "CL:0000002", "CL:0000003", "CL:0000004"]
    relatives = Relatives(Ontology(terms, edges[:, 0], edges[:, 1]))
    assert relatives.near(2) == {1, 2, 3, 4}
    assert relatives.near(4) == {2, 3, 4}


def test_an_answer_without_a_term_is_wrong_but_its_candidates_count_among_five(blood_graph) -> None:
    relatives = Relatives(Ontology.of_cells(blood_graph))
    truth = relatives.ontology.position("CL:0000084")
    assert relatives.values("", ["CL:0000084"], truth, 0.5) == (0.0, 0.0, -1.0, 0.0, 1.0)
    assert relatives.values("CL:0000084", ["CL:0000084"], truth, 0.5)[:3] == (1.0, 1.0, 1.0)


def test_a_truth_without_a_lineage_has_none_to_find() -> None:
    ontology = Ontology(
        ["CL:0", "CL:1", "CL:2"], np.array([1, 2]), np.array([0, 0]), lineages=[("T", "CL:1")]
    )
    relatives = Relatives(ontology)
    assert relatives.values("CL:1", [], 1, 0.5)[3] == 1.0
    assert relatives.values("CL:2", [], 1, 0.5)[3] == 0.0
    assert np.isnan([relatives.values(label, [], 2, 0.5)[3] for label in ("CL:2", "CL:1", "")]).all()


def test_the_files_of_one_publication_count_once() -> None:
    units = [unit("x", "a", 1.0), unit("x", "a", 0.0), unit("x", "b", 1.0), unit("y", "c", 0.0)]
    means = by_group(units)
    assert {g: v.tolist() for g, v in means.items()} == {"x": [0.75], "y": [0.0]}
    (found,) = over_groups(np.array(list(means.values())))
    assert (found.value, found.n) == (0.375, 2)
    assert found.low == 0.0
    assert found.high == 0.75


def test_an_undefined_value_leaves_the_mean() -> None:
    assert by_group([unit("x", "a", np.nan), unit("x", "a", 1.0)])["x"].tolist() == [1.0]


def test_the_product_and_the_others_are_measured_on_the_same_units(blood_graph, block) -> None:
    suite = Suite(blood_graph)
    ours = suite.measure([block], others=False)
    assert {u.method for u in ours} == {OURS, BEST}
    best = select(ours, method=BEST, mode="label groups")
    assert [u.values[METRICS.index("relation")] for u in best] == [1.0, 1.0, 1.0]
    assert np.isnan(best[2].values[METRICS.index("exact")])
    assert len(select(ours, method=BEST, mode="label groups", closed=True)) == 3


def test_files_without_a_right_answer_are_left_out(blood_graph, block) -> None:
    away = replace(block, study="colon_kinchen2018_mini")
    assert Suite(blood_graph).measure([away], others=False) == []


def test_sctype_and_ulm_equal_their_definitions() -> None:
    rng = np.random.default_rng(0)
    x = peers.scaled(rng.gamma(1.0, 1.0, (5, 20)).astype(np.float32))
    lists = (rng.random((20, 4)) < 0.4).astype(float)
    found, fitted = peers.sctype(x, sp.csc_array(lists)), peers.ulm(x, sp.csc_array(lists))
    named = lists.sum(axis=1)
    weight = (named.max() - named) / (named.max() - named[named > 0].min())
    for s in range(5):
        for t in range(4):
            inside = lists[:, t] > 0
            assert found[s, t] == pytest.approx((x[s] * weight)[inside].sum() / np.sqrt(inside.sum()))
            r = np.corrcoef(x[s], lists[:, t])[0, 1]
            assert fitted[s, t] == pytest.approx(r * np.sqrt(18 / (1 - r**2)))


def test_the_tables_print(blood_graph, block) -> None:
    suite = Suite(blood_graph)
    blocks = [block, *(replace(block, mode=mode) for mode in ("clusters", "profiles"))]
    text = "\n".join(tables(suite.measure(blocks)))
    assert "| label groups | best candidate | 1 | 3 | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] |" in text
    assert "adjusted by Holm" in text


def test_what_a_cut_file_keeps_of_the_answers_of_the_full_one_is_counted() -> None:
    def answer(mode: str, name: str, status: str, relation: float) -> Unit:
        values = (0.0, relation, 0.0, 0.0, 0.0)
        return Unit(OURS, False, mode, "human", "g", "file", name, values, 0.8, status)

    full = [answer("label groups", n, "named", 1.0) for n in "abc"] + [
        answer("label groups", "d", "unknown", 0.0)
    ]
    cut = [answer("panel 300", "a", "backed_off", 1.0), answer("panel 300", "b", "unknown", 0.0)]
    cut += [answer("panel 300", "c", "named", 0.0), answer("panel 300", "d", "named", 1.0)]
    rows = [line for line in kept([*full, *cut]) if "panel 300" in line]
    assert rows == ["| human | panel 300 | 4 | 3 | 2 of 3 (67%) | 1 of 3 (33%) |"]


def test_relation_is_counted_at_any_distance_too() -> None:
    """The far ancestor is on the truth's line and not within two steps."""
    values = [(1.0, 1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0, 1.0)]
    units = [
        Unit(BEST, False, "clusters", "human", "g", "file", name, v, 0.8, "named", 1.0)
        for name, v in zip("ab", values, strict=True)
    ]
    assert list(distances(units))[2:] == [
        "| human | clusters | best candidate | 0.50 [0.50, 0.50] | 1.00 [1.00, 1.00] |"
    ]


ROOT = Path(__file__).parents[3]


def test_the_figures_of_the_readme_are_those_of_the_suite() -> None:
    """Every row of the accuracy table, by graph, open set and the exactness of the closed set."""
    text = (ROOT / "docs" / "results" / "suite.md").read_text(encoding="utf-8")
    printed: dict[tuple[str, str, str, str], list[str]] = {}
    about = ("", "")
    for line in text.splitlines():
        if found := re.fullmatch(r"### (\w+): Human, (\w+) set", line):
            about = (found[1].lower(), found[2])
        elif line.startswith("#"):
            about = ("", "")
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if about[0] and len(cells) > 8 and "[" in cells[4]:
            printed[(*about, cells[0], cells[1])] = [cell.split()[0] for cell in cells[4:8]]
    names = {"gather": BEST, "decoupler ulm": "ulm"}
    modes = {"label groups": "label groups", "Leiden clusters": "clusters", "mean profiles": "profile files"}
    modes["single cells"] = "cells"
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("**", "")
    mode, rows = "", 0
    for line in readme.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 8 or cells[2] not in ("standard", "core"):
            continue
        mode = modes.get(cells[0].partition(",")[0], mode)
        method, graph = names.get(cells[1], cells[1]), cells[2]
        closed = printed[graph, "closed", mode, method]
        assert cells[3:] == [*printed[graph, "open", mode, method], closed[0]], line
        rows += 1
    assert rows == 14
