"""Read named columns of delimited text into Arrow strings; errors name file and line."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import zstandard

from vckg.base.errors import SourceError
from vckg.graph.statements import Rejections
from vckg.graph.string_array import whole
from vckg.readers._rda import MAGIC, read_frame

#: Decompressors by the first bytes of a file.
_OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: zstandard.ZstdDecompressor().stream_reader(
        file, read_across_frames=True
    ),
}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_FIX = "check that the file is of the release that the source table names"
#: Bytes per block: a reused block is several times cheaper than the text of a whole file.
_BLOCK = 1 << 22


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file, decompressed while it is read; damage found in the block becomes a SourceError."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(0)
            opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
            yield opener(file) if opener else file
    except _DAMAGE as error:
        raise SourceError(path, f"not readable: {error}", fix="fetch it again") from error


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed from gzip, bzip2, xz or Zstandard."""
    with _opened(path) as file:
        return bytes(file.read())


def read_text(path: Path) -> str:
    """Return a text file, decompressed, without a byte order mark."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = line_of(data, error.start)
        raise SourceError(path, f"not UTF-8 at byte {error.start}", line=line, fix=_FIX) from error


def line_of(data: bytes, byte: int) -> int:
    """Return the line number, from 1, of the byte at a position."""
    return data.count(b"\n", 0, byte) + 1


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
    """Return the named columns of a delimited file or of an R workspace, all strings, missing values as empty strings.

    Parameters
    ----------
    header
        Column names of a file that has no header line.
    quoted
        Whether fields may be in double quotes (CSV); else a quote is an ordinary character.
    comment
        Prefix of the lines to skip at the beginning.
    cut_off
        For a file that may end in the middle of a line: counts that line as rejected.

    Raises
    ------
    SourceError
        A column is missing, or a row has another number of columns.
    """
    with _opened(path) as file:
        is_workspace = file.read(len(MAGIC[0])) in MAGIC
    if is_workspace:
        return read_frame(path, read_bytes(path), columns)
    with _opened(path) as file:
        lines = _Lines(io.BytesIO(_without_last(file.read(), cut_off)) if cut_off is not None else file)
        skipped = lines.beginning_with(comment) if comment else 0
        names = list(header) if header else _header(path, lines.line(skipped), skipped, separator, quoted)
        if missing := [c for c in columns if c not in names]:
            problem = f"no column {missing[0]!r} in {', '.join(names)}"
            raise SourceError(path, problem, line=skipped + 1, fix=_FIX)
        try:
            table = pacsv.read_csv(
                pa.PythonFile(lines, "r"),
                # one thread: sources are read in parallel, and Arrow reports the line of an error only so
                read_options=pacsv.ReadOptions(
                    column_names=names,
                    skip_rows=skipped + (0 if header else 1),
                    block_size=_BLOCK,
                    use_threads=False,
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
            raise SourceError(
                path, _problem(str(error)), line=_line(str(error), skipped), fix=_FIX
            ) from error
    return pa.table({c: pc.fill_null(whole(table[c]), "") for c in columns})


def read_mapping(path: Path, key: str, value: str) -> dict[str, str]:
    """Return two columns of a tab-separated table as a dict; ``#`` begins a comment at the top."""
    table = read_columns(path, [key, value], comment=b"#")
    return dict(zip(table[key].to_pylist(), table[value].to_pylist(), strict=True))


def _without_last(data: bytes, cut_off: Rejections) -> bytes:
    """Return the complete lines of a file; count an incomplete last line as rejected."""
    if data.endswith(b"\n"):
        return data
    whole, _, rest = data.rpartition(b"\n")
    cut_off.add("the file ends within the line", 1, [rest.decode("utf-8", "replace")])
    return whole


class _Lines(io.RawIOBase):
    """A file with line feeds as the only line ends: Arrow would split at carriage returns inside titles.

    Its first lines can be read ahead.
    """

    def __init__(self, file: Any) -> None:
        self._file, self._ahead, self._ended, self._return = file, b"", False, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most `size`."""
        while not self._ended and (size < 0 or len(self._ahead) < size):
            self._more()
        size = len(self._ahead) if size < 0 else size
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data

    def line(self, number: int) -> bytes:
        """Return a line by its number (from 0) without its end; empty past the end of the file."""
        start = 0
        for index in range(number + 1):
            while (end := self._ahead.find(b"\n", start)) < 0 and not self._ended:
                self._more()
            if index == number:
                return self._ahead[start : end if end >= 0 else None]
            if end < 0:
                return b""
            start = end + 1
        return b""

    def beginning_with(self, mark: bytes) -> int:
        """Count the lines at the top that begin with `mark`."""
        count = 0
        while self.line(count).startswith(mark):
            count += 1
        return count

    def _more(self) -> None:
        block = self._return + self._file.read(_BLOCK)
        self._ended, self._return = len(block) == len(self._return), b""
        if b"\r" in block:
            if block.endswith(b"\r") and not self._ended:  # its line feed may come with the next block
                block, self._return = block[:-1], b"\r"
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b" ")
        self._ahead += block


def _header(path: Path, data: bytes, skipped: int, separator: str, quoted: bool) -> list[str]:
    try:
        line = data.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise SourceError(path, "the header is not UTF-8", line=skipped + 1, fix=_FIX) from error
    if not line.strip():
        raise SourceError(path, "the file is empty, a header was expected", line=skipped + 1, fix=_FIX)
    if not quoted:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise SourceError(path, f"no header ({error})", line=skipped + 1, fix=_FIX) from error


def _problem(message: str) -> str:
    expected = re.search(r"Expected (\d+) columns, got (\d+)", message)
    if expected:
        return f"{expected.group(2)} columns, {expected.group(1)} expected"
    if message.startswith(("Empty CSV file", "Could not skip initial")):
        return "no rows"
    return message.split("\n")[0].removeprefix("CSV parse error: ")


def _line(message: str, skipped: int) -> int:
    row = re.search(r"Row #(\d+)", message)
    return int(row.group(1)) + skipped if row else skipped + 1  # else there are no rows at all
