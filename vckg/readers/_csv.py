"""Delimited text to Arrow: only the named columns, every value a string, every problem with file and line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import zstandard

from vckg.errors import SourceError
from vckg.statements import Rejections


def _unzstd(data: bytes) -> bytes:
    """Zstandard frames without a stated size need the streaming interface."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


_MAGIC = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
    b"\x28\xb5\x2f\xfd": _unzstd,
}
_FIX = "check that the file is of the release that data/sources.toml names"


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed where its first bytes say gzip, bzip2, xz or Zstandard."""
    try:
        data = path.read_bytes()
        unpack = next((unpack for magic, unpack in _MAGIC.items() if data.startswith(magic)), None)
        return unpack(data) if unpack else data
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise SourceError(path, f"not readable: {error}", fix="fetch it again") from error


def read_text(path: Path) -> str:
    """Return a text file, decompressed, a byte order mark removed."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 at byte {error.start}", fix=_FIX) from error


def read_columns(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str = "\t",
    header: Sequence[str] | None = None,
    quoted: bool = False,
    comment: bytes = b"",
    cut_off: Rejections | None = None,
) -> pa.Table:
    """Return the named columns of a delimited file, all strings, missing values as empty strings.

    Parameters
    ----------
    header
        Column names of a file that has no header line.
    quoted
        Whether fields may stand in double quotes (CSV); elsewhere a quote is a character like any other.
    comment
        Lines at the beginning that start so are skipped.
    cut_off
        For a copy known to end in the middle of a line: where that line is counted.
    """
    data = read_bytes(path)
    if b"\r" in data:  # Arrow takes a lone carriage return, seen inside titles, for the end of the line
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    if cut_off is not None and not data.endswith(b"\n"):
        data, _, rest = data.rpartition(b"\n")
        cut_off.add("the file ends within the line", 1, [rest.decode("utf-8", "replace")])
    skipped = 0
    while comment and data[_line_start(data, skipped) :].startswith(comment):
        skipped += 1
    names = list(header) if header else _header(path, data, skipped, separator, quoted)
    missing = [c for c in columns if c not in names]
    if missing:
        raise SourceError(path, f"no column {missing[0]!r} in {', '.join(names)}", line=skipped + 1, fix=_FIX)
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                column_names=names, skip_rows=skipped + (0 if header else 1), block_size=max(len(data), 1)
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=separator, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=list(columns),
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        raise SourceError(path, _problem(str(error)), line=_line(str(error), skipped), fix=_FIX) from error
    return pa.table({c: _whole(table[c]) for c in columns})


def _line_start(data: bytes, number: int) -> int:
    at = 0
    for _ in range(number):
        at = data.find(b"\n", at) + 1
        if at == 0:
            return len(data)
    return at


def _header(path: Path, data: bytes, skipped: int, separator: str, quoted: bool) -> list[str]:
    start = _line_start(data, skipped)
    end = data.find(b"\n", start)
    try:
        line = data[start : end if end >= 0 else len(data)].decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise SourceError(path, "the header is not UTF-8", line=skipped + 1, fix=_FIX) from error
    if not line.strip():
        raise SourceError(path, "the file is empty, a header was expected", line=skipped + 1, fix=_FIX)
    names = line.split(separator)
    return [n.strip('"') for n in names] if quoted else names


def _problem(message: str) -> str:
    expected = re.search(r"Expected (\d+) columns, got (\d+)", message)
    if expected:
        return f"{expected.group(2)} columns, {expected.group(1)} expected"
    return message.split("\n")[0].removeprefix("CSV parse error: ")


def _line(message: str, skipped: int) -> int | None:
    row = re.search(r"Row #(\d+)", message)
    return int(row.group(1)) + skipped if row else None


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(whole, pa.ChunkedArray):
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.string())
    return pc.fill_null(whole, "")
