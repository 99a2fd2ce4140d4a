"""Samples: the five views of a virtual cell."""

from dataclasses import replace
from pathlib import Path

import pytest

from arena.datasets import make_cells
from arena.datasets.virtual_cell import (
    Interaction,
    Question,
    VirtualCell,
    read_cells,
    write_cells,
)
from arena.tasks import TASK_TABLE, TASKS
from arena.tasks.samples import make_samples, view_all
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

WHOLE = VirtualCell(
    id="c1",
    dataset="mine",
    cell_type="T cell",
    cl_id="CL:0000084",
    tissue="lung",
    species="human",
    expression=("CD3D", "CD3E"),
    description="A lymphocyte.",
    markers=("CD3D",),
    interactions=(Interaction(("GATA1",), "activation", ("KLF1", "HBG1"), ("SPI1",)),),
    questions=(Question("Marker Reasoning", "Which?", "CD3D.", ("CD3D.",), publications=("PMID:1",)),),
)


# ---- one virtual cell, five views -------------------------------------------------------------------------------


def views(cell: VirtualCell) -> tuple[str, ...]:
    """Return the tasks that the cell's fields allow."""
    return tuple(name for name, task in TASK_TABLE.items() if task.view(cell, 0))


def test_a_whole_cell_gives_all_tasks_and_a_bare_one_what_its_fields_allow() -> None:
    assert views(WHOLE) == TASKS
    assert views(replace(WHOLE, description="")) == ("annotation", "generation", "perturbation", "qa")
    assert views(replace(WHOLE, expression=())) == ("generation", "perturbation", "qa")
    assert views(VirtualCell("x", "mine", interactions=WHOLE.interactions)) == ("perturbation",)
    assert views(VirtualCell("x", "mine")) == ()


def test_a_panel_of_genes_is_no_reference_for_a_generated_cell() -> None:
    (sample,) = view_all([replace(WHOLE, partial=True)], "generation", seed=0)
    assert sample.gold["sentences"] == []
    assert sample.gold["markers"] == ["CD3D"]


@pytest.mark.parametrize("task", TASKS)
def test_what_a_view_hides_is_not_in_what_it_shows(task: str) -> None:
    hidden = {
        "annotation": ["T cell"],
        "captioning": ["T cell", "lymphocyte"],
        "generation": ["CD3D"],
        "perturbation": [],
        "qa": ["CD3D"],
    }
    (sample,) = view_all([WHOLE], task, seed=0)
    shown = " ".join(sample.variables.values())
    assert not [word for word in hidden[task] if word in shown]
    assert all(isinstance(v, str) for v in sample.variables.values())


def test_cells_survive_a_file_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(write_cells([WHOLE]))
    assert list(read_cells(path)) == [WHOLE]
    path.write_text('{"id": "a", "celltype": "T cell"}\n')
    with pytest.raises(
        InputError, match=r"mine.jsonl:1: a virtual cell has no 'celltype' \(did you mean 'cell_type'"
    ):
        list(read_cells(path))
    path.write_text("{nope\n")
    with pytest.raises(InputError, match=r"mine.jsonl:1: not JSON"):
        list(read_cells(path))
    with pytest.raises(InputError, match="no such file"):
        list(read_cells(tmp_path / "absent.jsonl"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ('"expression": "CD3D CD3E"', "expression: Input should be a valid array"),
        ('"expression": [1]', "expression.0: Input should be a valid string"),
        ('"interactions": [1]', "interactions.0: Input should be"),
        ('"interactions": null', "interactions: Input should be a valid array"),
        (
            '"interactions": [{"regulators": [], "effect": "knockdown", "up": [], "down": []}]',
            "interactions.0.regulators: Tuple should have at least 1 item",
        ),
        ('"questions": [{"kinds": "open"}]', r"no 'questions.0.kinds' \(did you mean 'kind'"),
    ],
)
def test_a_value_of_another_type_is_named_and_not_read_as_letters(
    tmp_path: Path, fields: str, complaint: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f'{{"id": "a", {fields}}}\n')
    with pytest.raises(InputError, match=rf"mine.jsonl:1: .*{complaint}"):
        list(read_cells(path))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"mine.jsonl:1: not JSON"):
        list(read_cells(path))


def test_an_interaction_that_moves_no_gene_asks_nothing() -> None:
    still = Interaction(("GATA1",), "knockdown", (), ())
    moving = Interaction(("GATA1",), "knockdown", ("KLF1",), ())
    asked = view_all([VirtualCell("a", "mine", interactions=(still, moving))], "perturbation", seed=0)
    assert [sample.gold["up"] for sample in asked] == [["KLF1"]]


def test_two_cells_of_one_id_are_refused() -> None:
    with pytest.raises(InputError, match="two annotation samples have the id"):
        view_all([WHOLE, WHOLE], "annotation", seed=0)


def _interaction(cell: str, genes: int) -> VirtualCell:
    up = tuple(f"U{i}" for i in range(genes // 2))
    down = tuple(f"D{i}" for i in range(genes // 2))
    return VirtualCell(cell, "mine", interactions=(Interaction(("X",), "activation", up, down),))


def test_candidates_are_shuffled_for_each_item_by_seed_and_not_by_the_order_of_the_file() -> None:
    cells = [_interaction(f"c{i}", 20) for i in range(12)]
    orders = [tuple(s.fields["candidates"]) for s in view_all(cells, "perturbation", seed=0)]
    assert len(set(orders)) == len(orders)
    assert [tuple(s.fields["candidates"]) for s in view_all(cells[::-1], "perturbation", seed=0)] == orders
    assert [tuple(s.fields["candidates"]) for s in view_all(cells, "perturbation", seed=1)] != orders


def test_a_smaller_limit_draws_a_part_of_a_greater_one() -> None:
    cells = [_interaction(f"c{i}", 4) for i in range(30)]
    few, many = (
        {s.id for s in make_samples(cells, ("perturbation",), seed=3, limit=n)["perturbation"]}
        for n in (7, 19)
    )
    assert len(few) == 7
    assert few < many
    with pytest.raises(InputError, match="--limit 0"):
        make_samples(cells, ("perturbation",), seed=3, limit=0)


def test_an_unknown_data_set_is_named_with_the_nearest(fresh_graph: Graph) -> None:
    with pytest.raises(InputError, match=r"no data set 'sc-arina' \(did you mean 'sc-arena'"):
        make_cells("sc-arina", fresh_graph, seed=0)
