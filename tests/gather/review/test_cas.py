"""The export to the Cell Annotation Standard is valid by its general and CAP schemas and names every cell once."""

import json
import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from gather.cli import app
from gather.review.annotated import read_annotated
from gather.review.apply import apply_decisions
from gather.review.cas import MOST_RATIONALE, _cut, to_cas
from tests.gather.review.conftest import event
from vckg.base.console import run

VERSION = "1.1.0"


def schema(name: str) -> dict[str, object]:
    """A schema of the package, which pins an older jsonschema: `make setup-dev` installs it without its needs."""
    try:
        package = distribution("cell-annotation-schema")
    except PackageNotFoundError:
        if os.environ.get("CI"):
            pytest.fail("CI must not skip: make setup-dev installs the schemas")
        pytest.skip(f"no schemas: pip install --no-deps cell-annotation-schema=={VERSION}")
    assert package.version == VERSION
    return json.loads(Path(str(package.locate_file(f"cas_schema/schemas/{name}_schema.json"))).read_text())


@pytest.fixture
def reviewed_file(annotated_file: Path, decide) -> Path:
    one = event(1, "T cells", "choose", label="B cell", curie="CL:0000236", reason="CD79A\nin all")
    two = event(2, "B cells", "accept", label="B cell", curie="CL:0000236")
    apply_decisions(annotated_file, decide(one, two))
    return annotated_file


@pytest.mark.parametrize("name", ["general", "CAP"])
def test_plain_and_reviewed_files_are_valid(reviewed_file: Path, name: str, tmp_path: Path) -> None:
    import jsonschema

    checker = jsonschema.Draft202012Validator(schema(name), format_checker=jsonschema.FormatChecker())
    document = to_cas(read_annotated(reviewed_file, "gather"), url="https://example.org/x")
    assert list(checker.iter_errors(document)) == []
    assert list(checker.iter_errors(document | {"annotations": [{"labelset": 3}]})) != []


def test_every_label_set_names_every_cell_once(reviewed_file: Path) -> None:
    annotated = read_annotated(reviewed_file, "gather")
    document = to_cas(annotated)
    assert [entry["name"] for entry in document["labelsets"]] == [
        "gather_cell_type",
        "gather_reviewed_cell_type",
    ]
    for labelset in document["labelsets"]:
        cells = [
            c for a in document["annotations"] if a["labelset"] == labelset["name"] for c in a["cell_ids"]
        ]
        assert sorted(cells) == sorted(annotated.cells)


def test_an_annotation_carries_label_genes_sources_and_publications(reviewed_file: Path) -> None:
    document = to_cas(read_annotated(reviewed_file, "gather"))
    ours, reviewed = (
        a
        for a in document["annotations"]
        if a.get("author_annotation_fields", {}).get("cell_set") == "T cells"
    )
    assert (ours["cell_label"], ours["cell_ontology_term_id"]) == ("T cell", "CL:0000084")
    assert set(ours["marker_gene_evidence"]) <= {"CD3D", "CD3E", "CD2", "IL7R", "LCK", "TRAC"}
    assert set(ours["marker_gene_evidence"]) <= set(ours["canonical_marker_genes"])
    assert "CD3D: Other (CC-BY-4.0); Toy (CC0-1.0); PMID:1." in ours["rationale"]
    assert ours["rationale_dois"] == []
    assert reviewed["cell_label"] == "B cell"
    assert reviewed["rationale"].startswith(
        "Ada Lovelace chooses, in place of T cell, B cell (2026-03-01). CD79A\nin all"
    )
    open_set = next(a for a in document["annotations"] if a["cell_label"] == "NA")
    assert "cell_ontology_term_id" not in open_set
    assert document["author_name"] == "Ada Lovelace"
    assert document["cellannotation_timestamp"] == "2026-03-01T12:02:00.000Z"


def test_a_publication_by_doi_is_listed(make_annotation, annotated_file: Path) -> None:
    from dataclasses import replace

    base = make_annotation()
    item = base.evidence[0]
    edge = replace(item.walks[0].steps[0][0], publications=("PMID:1", "doi:10.1/x"))
    item = replace(item, walks=(replace(item.walks[0], steps=((edge,),)),))
    annotated = read_annotated(annotated_file, "gather")
    answer = replace(base, cell_set="T cells", evidence=(item,))
    document = to_cas(replace(annotated, annotations=(answer,)))
    assert document["annotations"][0]["rationale_dois"] == ["10.1/x"]


def test_a_rationale_ends_with_a_whole_sentence_within_the_limit() -> None:
    text = _cut(["One.", *["x" * 99 + "."] * 50])
    assert len(text) <= MOST_RATIONALE
    assert text.endswith("x.")
    assert len(_cut(["x" * 5000])) == MOST_RATIONALE


def test_the_command_writes_the_same_bytes_twice_and_replaces_nothing(
    annotated_file: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    def command(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["gather", "cas", str(annotated_file), *words])
        with pytest.raises(SystemExit) as ended:
            run(app, "gather")
        return int(ended.value.code or 0)

    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert command("-o", str(one), "--author", "Ada Lovelace") == 0
    assert command("-o", str(two), "--author", "Ada Lovelace") == 0
    assert one.read_bytes() == two.read_bytes()
    assert command("-o", str(one)) == 2
    assert "exists; give another -o, or --force" in capsys.readouterr().err
    assert command("-o", str(one), "--force", "--key-added", "nothing") == 2
    assert "no annotation in uns['nothing']; found gather" in capsys.readouterr().err
