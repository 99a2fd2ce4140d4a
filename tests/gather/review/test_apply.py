"""Reviewed labels stand beside ours; nothing is lost, applying twice changes nothing, another file's are refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anndata as ad
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gather.cells.command import annotate_file
from gather.cells.options import Options
from gather.cli import app
from gather.review.apply import apply_decisions
from gather.review.decisions import Event, read_decisions, standing
from tests.gather.review.conftest import event
from vckg.base.console import run
from vckg.base.errors import InputError

NK = {"label": "natural killer cell", "curie": "CL:0000623"}
T_CELL = {"label": "T cell", "curie": "CL:0000084"}


def test_reviewed_labels_stand_beside_ours_and_nothing_is_lost(annotated_file: Path, decide) -> None:
    before = ad.read_h5ad(annotated_file)
    path = decide(
        event(1, "T cells", "choose", reason="CD3 is ambient\nsee panel 2", **NK),
        event(2, "B cells", "accept", label="B cell", curie="CL:0000236"),
        event(3, "monocytes", "comment", reason="<script>alert(1)</script>"),
    )
    applied = apply_decisions(annotated_file, path)
    assert (applied.new, applied.states) == (3, {"changed": 1, "accepted": 1, "open": 1})
    after = ad.read_h5ad(annotated_file)
    assert set(after.obs) - set(before.obs) == {
        "gather_reviewed_cell_type",
        "gather_reviewed_cell_type_ontology_term_id",
        "gather_review",
    }
    assert before.obs.equals(after.obs[list(before.obs)])
    assert (before.X != after.X).sum() == 0
    assert set(after.uns) == {*before.uns, "gather_review"}
    cells = after.obs.loc[["c0", "c3", "c31", "c61", "c89"]]
    assert cells["gather_reviewed_cell_type"].astype(object).where(
        cells["gather_reviewed_cell_type"].notna(), ""
    ).tolist() == [NK["label"], "", "B cell", "", ""]
    assert cells["gather_review"].tolist() == ["changed", "open", "accepted", "open", "open"]
    assert cells["gather_cell_type"].tolist() == ["T cell", "unknown", "B cell", "monocyte", "unknown"]
    history = after.uns["gather_review"]["history"]
    assert history["reviewer"].tolist() == ["Ada Lovelace"] * 3
    assert history["reason"].tolist() == ["CD3 is ambient\nsee panel 2", "", "<script>alert(1)</script>"]
    assert history["date"].iloc[0] == "2026-03-01T12:01:00.000Z"


def test_applying_twice_changes_no_byte_and_later_entries_are_added(annotated_file: Path, decide) -> None:
    one, two = event(1, "T cells", "choose", **NK), event(2, "T cells", "undo", undoes=f"{1:016x}")
    apply_decisions(annotated_file, decide(one))
    first, stamp = annotated_file.read_bytes(), annotated_file.stat().st_mtime_ns
    assert apply_decisions(annotated_file, decide(one)).new == 0
    assert (annotated_file.read_bytes(), annotated_file.stat().st_mtime_ns) == (first, stamp)
    other = event(3, "B cells", "accept", label="B cell", curie="CL:0000236", reviewer="Alan Turing")
    assert apply_decisions(annotated_file, decide(other, name="other.json")).new == 1
    applied = apply_decisions(annotated_file, decide(one, two))
    assert (applied.new, applied.known) == (1, 1)
    assert applied.states == {"accepted": 1, "open": 2}
    history = ad.read_h5ad(annotated_file).uns["gather_review"]["history"]
    assert history["id"].tolist() == [f"{n:016x}" for n in (1, 3, 2)]


def test_reviewed_answers_are_not_replaced(annotated_file: Path, blood_graph, decide, tmp_path: Path) -> None:
    """The review would stand beside answers that nobody looked at."""
    apply_decisions(annotated_file, decide(event(1, "T cells", "choose", **NK)))
    with pytest.raises(InputError, match=r"uns\['gather_review'\] reviews the answers that would go"):
        annotate_file(annotated_file, tmp_path / "again.h5ad", blood_graph, Options("group"))
    annotate_file(annotated_file, tmp_path / "again.h5ad", blood_graph, Options("group", key_added="new"))
    assert ad.read_h5ad(tmp_path / "again.h5ad").obs["gather_review"].value_counts()["changed"] == 29


def test_a_copy_leaves_the_annotated_file_as_it_is(annotated_file: Path, decide, tmp_path: Path) -> None:
    before = annotated_file.read_bytes()
    path = decide(event(1, "T cells", "accept", **T_CELL))
    apply_decisions(annotated_file, path, tmp_path / "copy.h5ad")
    assert annotated_file.read_bytes() == before
    assert ad.read_h5ad(tmp_path / "copy.h5ad").obs["gather_review"].value_counts()["accepted"] == 29


ACCEPT = event(1, "T cells", "accept", **T_CELL)
REFUSED = {
    "another graph": (ACCEPT, {"graph": "0" * 64}, "is about answers of graph 000000000000"),
    "another file": (ACCEPT, {"answers": "0" * 64}, "is about another file or other answers"),
    "other sets": (ACCEPT, {"cell_sets": ["T cells", "x"]}, "is about another file"),
    "another version": (ACCEPT, {"format_version": 2}, "format_version"),
    "no such set": (event(1, "NK", "accept"), {}, "no cell set 'NK'"),
    "another label": (event(1, "T cells", "accept", **NK), {}, "which is 'T cell'"),
    "no type": (event(1, "T cells", "choose"), {}, "chooses no cell type"),
    "no id": (event(1, "T cells", "choose", label="x", curie="../x"), {}, "history.0.curie"),
    "no reviewer": (event(1, "T cells", "accept", reviewer=""), {}, "history.0.reviewer"),
    "no date": (event(1, "T cells", "accept", date="2026-13-01T00:00:00Z"), {}, "history.0.date"),
    "nothing undone": (event(1, "T cells", "undo", undoes="0" * 16), {}, "withdraws no earlier entry"),
    "control": (event(1, "T cells", "comment", reason="a\x00b"), {}, "has control characters"),
    "too long": (event(1, "T cells", "comment", reason="x" * 2001), {}, "history.0.reason"),
    "a field too many": (ACCEPT | {"path": "/etc"}, {}, "history.0.path"),
    "a key that is a path": (ACCEPT, {"key": "../gather"}, "key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_decisions_that_do_not_fit_are_refused_and_nothing_is_written(
    annotated_file: Path, decide, case: str
) -> None:
    entry, head, message = REFUSED[case]
    before = annotated_file.read_bytes()
    with pytest.raises(InputError, match="(?s)" + message.replace("(", r"\(")) as error:
        apply_decisions(annotated_file, decide(entry, **head))
    assert "\n" not in str(error.value)
    assert annotated_file.read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{" * 5000, '{"format": NaN}', '"\\ud800"', "\x00"])
def test_a_file_that_is_no_decisions_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(InputError, match=r"give the decisions\.json") as error:
        read_decisions(tmp_path / "d.json")
    assert "\n" not in str(error.value)


def test_an_entry_that_reads_otherwise_than_before_is_refused(annotated_file: Path, decide) -> None:
    apply_decisions(annotated_file, decide(event(1, "T cells", "choose", **NK)))
    before = annotated_file.read_bytes()
    with pytest.raises(InputError, match="the history only grows"):
        apply_decisions(annotated_file, decide(event(1, "T cells", "choose", reason="forged", **NK)))
    assert annotated_file.read_bytes() == before


def test_a_column_of_the_user_is_not_replaced(annotated_file: Path, decide) -> None:
    adata = ad.read_h5ad(annotated_file)
    adata.obs["gather_review"] = "mine"
    adata.write_h5ad(annotated_file)
    with pytest.raises(InputError, match=r"obs\['gather_review'\] exists"):
        apply_decisions(annotated_file, decide(ACCEPT))


def test_the_command_refuses_in_one_line_with_exit_2(
    annotated_file: Path, decide, monkeypatch, capsys
) -> None:
    def command(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["gather", *words])
        with pytest.raises(SystemExit) as ended:
            run(app, "gather")
        return int(ended.value.code or 0)

    path = decide(ACCEPT)
    assert command("apply", str(annotated_file), str(path)) == 0
    assert "entries: 1 new, 0 known; cell sets: 1 accepted, 2 open" in capsys.readouterr().err
    assert command("apply", str(annotated_file), str(decide(ACCEPT, graph="1" * 64))) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert command("apply", str(annotated_file.parent / "in.h5ad"), str(path)) == 2
    assert "no annotation in uns['gather']" in capsys.readouterr().err


@given(st.data())
def test_what_stands_is_the_latest_that_was_not_withdrawn(data) -> None:
    """Against a slow definition: replay the entries one by one on stacks of decisions."""
    n = data.draw(st.integers(0, 12))
    events, stacks = [], {"a": [], "b": []}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(n):
        name = data.draw(st.sampled_from("ab"))
        undo = bool(stacks[name]) and data.draw(st.booleans())
        date = (start + timedelta(minutes=number)).isoformat().replace("+00:00", "Z")
        undoes = stacks[name].pop().id if undo else ""
        action = "undo" if undo else data.draw(st.sampled_from(["accept", "choose"]))
        entry = Event(
            id=f"{number:016x}", date=date, reviewer="x", cell_set=name, action=action, undoes=undoes
        )
        events.append(entry)
        if not undo:
            stacks[name].append(entry)
    expected = {name: stack[-1] for name, stack in stacks.items() if stack}
    shuffled = data.draw(st.permutations(events))
    assert standing(shuffled) == expected


def test_the_page_and_the_file_agree_on_the_hash(annotated_file: Path, blood_graph, tmp_path: Path) -> None:
    from gather.cells.command import annotate_file
    from gather.cells.options import Options
    from gather.review.annotated import read_annotated

    page, again = tmp_path / "page.html", tmp_path / "again.h5ad"
    annotate_file(tmp_path / "in.h5ad", again, blood_graph, Options("group"), report=page)
    text = page.read_text()
    start = text.index('id="review-data">') + len('id="review-data">')
    block = json.loads(text[start : text.index("</script>", start)])
    assert block["answers"] == read_annotated(annotated_file, "gather").answers
    assert block["graph"] == blood_graph.content_hash
    assert ["CL:0000084", "T cell"] in block["terms"]
