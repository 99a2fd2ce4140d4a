"""What no sample may ask: the activated gene itself, genes of every cell as markers, a label that its genes deny."""

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.contestants.baselines import Peers, gene_prior
from arena.datasets import admission, fresh, questions, screen, virtual_cell
from arena.datasets.cell_files import HOUSEKEEPING, CellFile, Labelled
from arena.datasets.lineages import CellTerms
from arena.datasets.virtual_cell import Interaction, VirtualCell
from arena.scoring import gene_lists
from tests.arena.toy import FRESH_REGULONS, write_mirror
from vckg.graph.graph import Graph

NODE = ["id", "category", "name", "description"]
EDGE = ["subject", "relation", "object", "source", "sign", "publications"]


def test_an_activated_gene_is_no_candidate() -> None:
    asked = Interaction(
        regulators=("KLF1",), effect="activation", up=("HBG1",), down=("KLF1", "SPI1"), control=(), outcome=()
    )
    left = screen._without_regulators(asked)
    assert (left.up, left.down) == (("HBG1",), ("SPI1",))


@pytest.mark.parametrize(
    ("gene", "left_out"),
    [("RPL13A", True), ("Rps27a", True), ("RPLP0", True), ("MRPL12", True), ("MT-CO1", True), ("RPSA", True),
     ("MTOR", False), ("RPTOR", False), ("RPN1", False), ("MRPS", False), ("CD3E", False)],
)  # fmt: skip
def test_ribosomal_and_mitochondrial_genes_mark_no_type(gene: str, left_out: bool) -> None:
    assert bool(admission.UNINFORMATIVE.match(gene)) == left_out


@pytest.mark.parametrize(
    ("gene", "left_out"),
    [("IGKV4-1", True), ("IGHGP", True), ("TRBV20-1", True), ("IGHG1", False), ("TRAC", False), ("TRAT1", False)],
)  # fmt: skip
def test_what_only_one_clone_shows_marks_no_type(gene: str, left_out: bool) -> None:
    assert bool(admission.UNINFORMATIVE.match(gene)) == left_out


def test_a_perturbed_gene_regulates_others(fresh_graph: Graph, toy_mirror: Path) -> None:
    entry = admission.Admission(CellTerms(fresh_graph), 0)
    asked = {one.interactions[0].regulators for one in screen.screen(fresh_graph, (toy_mirror,), entry)}
    acting = {*FRESH_REGULONS}
    assert asked
    assert all(acting & {*regulators} for regulators in asked)
    rows = json.loads((toy_mirror / "scarena" / "test_perturbation.json").read_text())
    powerless = [row for row in rows if not acting & {*row["condition"].split("+")}]
    assert entry.rejected[admission.POWERLESS] == len(powerless)


@pytest.mark.parametrize(("others", "asked"), [(4, True), (5, False)])
def test_a_hidden_factor_is_told_by_targets_that_few_others_have(others: int, asked: bool) -> None:
    genes = ["HIDDEN", "UP1", "UP2", "UP3", "DOWN", *(f"OTHER{i}" for i in range(others))]
    acts = [("HIDDEN", up, 1) for up in ("UP1", "UP2", "UP3")] + [("HIDDEN", "DOWN", -1)]
    acts += [(f"OTHER{i}", "UP1", 1) for i in range(others)]
    edges = [
        (f"HGNC:{genes.index(a)}", "regulates", f"HGNC:{genes.index(b)}", source, sign, [f"PMID:{number}"])
        for a, b, sign in acts
        for number, source in enumerate(("trrust", "signor"))
    ]
    graph = Graph.from_frames(
        pd.DataFrame([(f"HGNC:{i}", "Gene", g, "") for i, g in enumerate(genes)], columns=NODE),
        pd.DataFrame(edges, columns=EDGE),
    )
    halves = questions._regulators(graph, admission.Admission(None, 0))  # type: ignore[arg-type]
    assert [graph.names[half.node] for half in halves] == ["HIDDEN"] * asked


def test_a_label_in_doubt_is_of_a_known_set() -> None:
    assert {("wu2021", "CL:0000787"), ("wu2021", "CL:0000980")} <= admission.doubted()


@pytest.mark.parametrize(
    ("genes", "others", "filtered"),
    [
        (["ACTB", "B2M", "GAPDH", "UBC"], 300, True),  # four of ten
        (["Actb", "B2m", "Gapdh", "Ubc", "Tpt1"], 300, False),
        (["ACTB", "B2M", "GAPDH", "UBC", "TPT1"], 300, False),
        ([], 12_000, False),  # whole cells whose ambiguous genes are left out
    ],
)
def test_a_file_of_few_genes_shows_housekeeping_genes(genes: list[str], others: int, filtered: bool) -> None:
    measured = (*genes, *(f"G{i}" for i in range(others)))
    source = CellFile("s", "s.h5ad", "label", "human", "blood", "", "log", "samples", "")
    found = Labelled(source, measured, np.zeros((0, len(measured)), np.float32), (), {}, (), "")
    assert found.filtered is filtered


def test_a_filtered_file_gives_no_samples_and_is_counted(fresh_graph: Graph, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path)
    path = mirror / "h5ad_more" / "breast_tnbc_wu2021_cid4465.h5ad"
    data = anndata.read_h5ad(path)
    data[:, ~data.var_names.isin(HOUSEKEEPING)].copy().write_h5ad(path)
    made = fresh.make(fresh_graph, seed=0, mirrors=(mirror,))
    assert not any(cell.id.startswith("wu2021/") for cell in made.cells)
    assert made.admission.rejected[admission.FILTERED] == 4


def test_a_perturbation_is_asked_about_once_in_whatever_order(fresh_graph: Graph, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path)
    path = mirror / "scarena" / "test_perturbation.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**rows[0], "condition": "ctrl+GATA1"}, *rows]))
    entry = admission.Admission(CellTerms(fresh_graph), 0)
    named = [cell.id for cell in screen.screen(fresh_graph, (mirror,), entry)]
    assert "ctrl+GATA1" not in named
    assert entry.rejected[admission.TWICE] == 1


SIDES = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


def perturbation(regulator: str, genes: list[str], split: int) -> Interaction:
    return Interaction((regulator,), "activation", tuple(genes[:split]), tuple(genes[split:]))


@given(rows=st.lists(st.tuples(SIDES, st.integers(0, 8)), min_size=1, max_size=6), seed=st.integers(0, 5))
def test_as_many_genes_go_with_the_drift_of_the_others_as_against_it(
    rows: list[tuple[list[str], int]], seed: int
) -> None:
    asked = [perturbation(f"R{i}", genes, split) for i, (genes, split) in enumerate(rows)]
    drift = screen.drift_of(asked)
    for place, one in enumerate(asked):
        others = asked[:place] + asked[place + 1 :]
        way = {
            gene: sum(gene in o.up for o in others) - sum(gene in o.down for o in others)
            for gene in "abcdefgh"
        }
        kept = screen.balanced(one, drift, seed, str(place))
        against = {g for g in one.up if way[g] < 0} | {g for g in one.down if way[g] > 0}
        along = {g for g in one.up if way[g] > 0} | {g for g in one.down if way[g] < 0}
        if kept is None:
            continue
        left = {*kept.up, *kept.down}
        assert left - along == {*one.up, *one.down} - along
        assert len(left & along) == min(len(along), len(against)) > 0 or not along
        assert min(len(kept.up), len(kept.down)) >= screen.LEAST
        assert {*kept.up} <= {*one.up}
        assert {*kept.down} <= {*one.down}


@pytest.mark.data
def test_who_knows_the_drift_of_the_real_screen_answers_at_chance(mirror: Path, full_graph: Graph) -> None:
    entry = admission.Admission(CellTerms(full_graph), 0)
    asked = list(screen.screen(full_graph, (mirror,), entry))
    samples = [sample for cell in asked for sample in virtual_cell.perturbation(cell)]
    assert len(samples) >= 20
    assert entry.rejected[admission.DRIFT] > 0
    peers = Peers({sample.id: sample for sample in samples}, dict)
    said = [
        (gene in s.gold[way]) for s in samples for way in ("up", "down") for gene in gene_prior(s, peers)[way]
    ]
    assert len(said) > 50
    assert np.mean(said) < 0.6


def test_half_right_in_both_is_half_right() -> None:
    assert gene_lists._f1(0.5, 0.5) == 0.5
    assert gene_lists._f1(1, 0) == gene_lists._f1(0, 0) == 0


def test_a_gene_that_the_list_lacks_is_no_real_one() -> None:
    assert gene_lists._plausible(["A", "B"], {"A", "B"}, wanted=8, shared=1.0) == 0.25
    assert gene_lists._plausible([], {"A"}, wanted=8, shared=1.0) == 0


def test_the_prompt_says_that_a_mean_is_of_several_cells() -> None:
    cell = VirtualCell("a", "fresh", species="human", tissue="heart", mean=True)
    assert cell.context == "human cells of one type from heart"
    assert replace(cell, mean=False).context == "a human cell from heart"
    assert replace(cell, species="", tissue="").context == "cells of one type"
