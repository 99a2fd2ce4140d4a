"""``gather check`` as a user types it, and its page in a browser."""

import csv
import json
import re
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
from typer.testing import CliRunner

import gather
from gather.checking.page import write_page
from gather.cli import app

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:anndata.*", "ignore::FutureWarning")
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e & | [red]T[/red]"


@pytest.fixture
def source(blood_cells, tmp_path):
    obs = blood_cells.obs
    obs["author"] = obs["group"].astype(str).replace({"T cells": "monocytes", "monocytes": "T cells"})
    obs["odd: name"] = obs["group"].astype(str).replace({"T cells": HOSTILE})
    path = tmp_path / "in.h5ad"
    blood_cells.write_h5ad(path, convert_strings_to_categoricals=True)
    return path


@pytest.fixture
def check(blood_graph, source, tmp_path):
    """A function: run the command on the file in its folder."""
    folder = blood_graph.save(tmp_path / "graph")

    def run(*words):
        return CliRunner().invoke(app, ["check", str(source), "-g", str(folder), *map(str, words)])

    return run


def test_all_outputs_agree_and_the_input_stays(check, source, tmp_path):
    before = source.read_bytes()
    copy, table, page, mapping = (tmp_path / name for name in ("out.h5ad", "t.tsv", "r.html", "m.tsv"))
    done = check(
        "--labels", "author", "--labels", "group", "-o", copy, "--table", table, "--report", page,
        "--write-mapping", mapping,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert source.read_bytes() == before
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    assert {(r["cell_set"], r["column"]) for r in rows if r["reasons"] == "conflict"} == {
        ("T cells", "author"),
        ("monocytes", "author"),
    }
    written = ad.read_h5ad(copy)
    flagged = written.obs["check_author_reasons"] == "conflict"
    assert set(written.obs.loc[flagged, "author"]) == {"T cells", "monocytes"}
    assert "check_consensus_ontology_term_id" in written.obs
    assert len(written.uns["check"]["table"]) == 6
    assert page.read_text().count("<details") == 3
    assert mapping.read_text().startswith("label\tcell_type_ontology_term_id\t")
    assert "labels to review: 2 of 6;" in " ".join(done.stderr.split())
    again = check("--labels", "group", "-o", copy)
    assert (again.exit_code, type(again.exception).__name__) != (0, "NoneType")
    assert check("--labels", "group", "-o", copy, "--force").exit_code == 0


def test_one_thing_is_told_in_the_singular(check, source, tmp_path):
    data = ad.read_h5ad(source)
    first = data[data.obs["group"] == "T cells"][:6].copy()
    first.obs.loc[first.obs_names[0], "group"] = np.nan
    first.write_h5ad(source)
    page = tmp_path / "r.html"
    done = check("--labels", "group", "--report", page)
    assert done.exit_code == 0, done.output
    told = " ".join(done.stderr.split())
    assert "labels to review: 0 of 1;" in told
    assert "cells without a label in 'group', left out: 1" in told
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page.read_text()))
    assert (
        "0 of 1 label is doubtful, on 1 cell set of 5 cells. Label column: group; cell set column: group."
        in text
    )
    assert not re.search(r"\b1 (cells|sets|cell sets|labels)\b", text + told)


def test_the_page_tells_a_release_once(blood_graph, blood_cells, tmp_path):
    found = gather.check(blood_cells, ["group"], graph=blood_graph)
    (first, *_) = (one for one in found.sets if one.labels[0].evidence)
    evidence = first.labels[0].evidence
    walk = evidence.walks[0]
    edge = replace(walk.steps[0][0], source_title="CellMarker 2.0", release="2.0")
    evidence = replace(evidence, walks=(replace(walk, steps=((edge,), *walk.steps[1:])),))
    label = replace(first.labels[0], evidence=evidence)
    told = replace(found, sets=(replace(first, labels=(label,)),))
    page = write_page(told, tmp_path / "r.html", title="t").read_text()
    assert "CellMarker 2.0" in page
    assert "2.0 2.0" not in page


def test_the_column_worth_is_explained_below_the_table(check):
    swapped, right = check("--labels", "author"), check("--labels", "group")
    assert "worth: how much a look at the label gains, 0 to 1" in swapped.stderr
    assert "worth:" not in right.stderr


def test_missing_markers_are_told_of_as_annotate_tells_them(blood_graph, blood_cells):
    """A label that we give ourselves rests on its other markers; it is not said that nobody can tell it."""
    missing = ["IL7R", "LCK", "TRAC"]
    cells = blood_cells[:, ~blood_cells.var_names.isin(missing)].copy()
    found = gather.check(cells, "group", graph=blood_graph)
    (label,) = found["T cells"].labels
    (warning,) = [w for w in found["T cells"].answer.coverage if w.curie == label.mapped.curie]
    assert (label.relation, label.decidable, label.coverage) == ("same", True, warning.message)
    assert label.coverage == "IL7R, LCK, TRAC not measured: the call rests on its other markers"


def test_a_conflict_and_its_missing_markers_do_not_contradict_each_other(blood_graph, blood_cells):
    missing = ["CD3D", "CD3E", "CD2", "IL7R"]
    cells = blood_cells[blood_cells.obs["group"] != "T cells", ~blood_cells.var_names.isin(missing)].copy()
    cells.obs["wrong"] = cells.obs["group"].astype(str).replace("monocytes", "T cells")
    found = gather.check(cells, "wrong", graph=blood_graph)
    (conflict,) = [one for one in found.checks if one.label == "T cells"]
    assert conflict.reasons == ("conflict",)
    assert not conflict.decidable
    assert conflict.coverage.endswith(" of T cell are not measured; the measured genes speak for monocyte")


def test_json_is_what_python_gives(check, blood_graph, source):
    done = check("--labels", "author", "--json")
    assert done.exit_code == 0, done.output
    adata = ad.read_h5ad(source)
    assert json.loads(done.stdout) == json.loads(
        json.dumps(gather.check(adata, ["author"], graph=blood_graph).to_dict())
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "nothing"], "no column 'nothing'"),
        (["--labels", "group", "-o", "out.csv"], "ends in .h5ad"),
        (["--labels", "group", "--table", "t.xlsx"], "ends in .tsv or .csv"),
        (["--labels", "group", "--weight", "group"], "wanted COLUMN=NUMBER"),
        (["--labels", "group", "--mapping", "nowhere.tsv"], "cannot be read as a mapping"),
        (["--labels", "group", "--key-added", "odd", "-o", "new.h5ad"], "was not written by gather check"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    check, tmp_path, monkeypatch, words, message, source
):
    adata = ad.read_h5ad(source)
    adata.obs["odd_column"] = "x"
    adata.write_h5ad(source)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    done = check(*words)
    assert done.exit_code != 0
    assert message in str(done.exception)
    assert sorted(tmp_path.iterdir()) == before


def test_a_checked_copy_can_be_checked_again(check, tmp_path):
    assert check("--labels", "group", "-o", tmp_path / "one.h5ad").exit_code == 0
    assert "check_group_worth" in ad.read_h5ad(tmp_path / "one.h5ad").obs


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_shows_hostile_labels_as_text_and_axe_finds_nothing(
    blood_graph, source, tmp_path, page, axe, theme
):
    found = gather.check(ad.read_h5ad(source), ["author", "odd: name"], graph=blood_graph)
    path = write_page(found, tmp_path / "page.html", title=HOSTILE)
    page.emulate_media(color_scheme=theme)
    page.goto(path.as_uri())
    assert page.locator("img").count() == 0
    assert page.locator("#queue tbody tr").count() == len(found.queue)
    page.locator("#queue tbody tr a").first.click()
    for box in page.locator("details > summary").all():
        box.click()
    assert page.locator("details[open] .card").count() == len(found.checks)
    assert HOSTILE in page.locator("#mapping").inner_text()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
