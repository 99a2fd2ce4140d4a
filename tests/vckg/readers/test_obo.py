"""A damaged OBO file is refused with the line at fault, with the public function of obonet alone."""

import sys
from pathlib import Path
from types import SimpleNamespace

import obonet
import pytest

from vckg.base.errors import SourceError
from vckg.readers.obo import read_obo

HEAD = "format-version: 1.2\nontology: cl\n\n[Term]\nid: CL:1\nname: a\n\n"


@pytest.fixture(autouse=True)
def only_the_public_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The internals have another form in obonet 1.1.0, the lowest version that is allowed."""
    monkeypatch.setitem(sys.modules, "obonet", SimpleNamespace(read_obo=obonet.read_obo))
    monkeypatch.setitem(sys.modules, "obonet.read", None)


@pytest.mark.parametrize(
    ("term", "line"),
    [
        ("name: b", 8),
        ("id: CL:2\nname: b\nrelationship: part_of ! a", 11),
        ('id: CL:2\nname: b\nrelationship: part_of CL:1 CL:2 {a="b c"} ! a b', 11),
        ("id: CL:2\njunk", 10),
    ],
    ids=["no id", "no end", "two ends", "no tag"],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, term: str, line: int) -> None:
    path = tmp_path / "cl.obo"
    path.write_text(f"{HEAD}[Term]\n{term}\n")
    with pytest.raises(SourceError, match=f"cl.obo:{line}: "):
        read_obo({"main": path}, categories={"CL": "Cell"})


def test_modifiers_and_comments_of_a_relationship_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "cl.obo"
    path.write_text(HEAD + '[Term]\nid: CL:2\nname: b\nrelationship: part_of CL:1 {x="y z"} ! a b\n')
    assert [len(s) for s in read_obo({"main": path}, categories={"CL": "Cell"}).statements] == [1]
