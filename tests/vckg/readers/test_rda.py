"""R workspaces: a data frame written byte by byte as R Internals describes it, and the same file damaged."""

import bz2
import random
import struct
from pathlib import Path

import pytest

from vckg.base.errors import SourceError
from vckg.readers._csv import read_columns

OBJECT, ATTRIBUTES, TAG, LATIN1 = 0x100, 0x200, 0x400, 1 << 14
NIL = struct.pack(">i", 254)


def text(word: str | None, flags: int = 9) -> bytes:
    if word is None:
        return struct.pack(">ii", flags, -1)
    data = word.encode("latin-1" if flags & LATIN1 else "utf-8")
    return struct.pack(">ii", flags, len(data)) + data


def texts(*words: str | None, flags: int = 9) -> bytes:
    return struct.pack(">ii", 16, len(words)) + b"".join(text(w, flags) for w in words)


def pairs(*items: tuple[str, bytes]) -> bytes:
    head = struct.pack(">i", 2 | TAG)
    return b"".join(head + struct.pack(">i", 1) + text(tag) + value for tag, value in items) + NIL


def workspace(version: int = 3) -> bytes:
    factor = struct.pack(">ii3i", 13 | OBJECT | ATTRIBUTES, 3, 2, 1, -(2**31))
    factor += pairs(("levels", texts("Human", "Mouse")), ("class", texts("factor")))
    real = struct.pack(">ii3d", 14, 3, 1.5, 3.0, float("nan"))
    counted = struct.pack(">i", 238) + pairs(("0", struct.pack(">i", 1) + text("compact_intseq")))
    counted += struct.pack(">ii3d", 14, 3, 3, 7, 1) + NIL
    columns = [texts("CD3D", None, "MS4A1"), texts("Köln", "b", "c", flags=9 | LATIN1), factor, real, counted]
    frame = struct.pack(">ii", 19 | OBJECT | ATTRIBUTES, len(columns)) + b"".join(columns)
    names = ("gene", "place", "species", "score", "number")
    frame += pairs(("names", texts(*names)), ("class", texts("data.frame")))
    head = f"RDX{version}\nX\n".encode() + struct.pack(">3i", version, 0, 0)
    return head + (struct.pack(">i", 5) + b"UTF-8" if version == 3 else b"") + pairs(("markers", frame))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("pack", [bytes, bz2.compress], ids=["plain", "bzip2"])
def test_every_kind_of_column_is_read_as_text(tmp_path: Path, version: int, pack: type[bytes]) -> None:
    path = tmp_path / "markers.rda"
    path.write_bytes(pack(workspace(version)))
    columns = ["gene", "place", "species", "score", "number"]
    assert read_columns(path, columns).to_pydict() == {
        "gene": ["CD3D", "", "MS4A1"],
        "place": ["Köln", "b", "c"],
        "species": ["Mouse", "Human", ""],
        "score": ["1.5", "3", ""],
        "number": ["7", "8", "9"],
    }


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "markers.rda"
    path.write_bytes(workspace())
    with pytest.raises(SourceError, match=r"no column 'cell' in gene, place"):
        read_columns(path, ["cell"])


def test_a_damaged_workspace_is_a_source_error_or_other_text_never_a_crash(tmp_path: Path) -> None:
    rng, whole, path = random.Random(0), workspace(), tmp_path / "markers.rda"
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(7, len(data))] = rng.randrange(256)
        path.write_bytes(bytes(data[: rng.randint(7, len(data))]))
        try:
            read_columns(path, ["gene", "species"])
        except SourceError:
            refused += 1
    assert refused > 100
