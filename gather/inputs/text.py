"""Text files, gzipped or not, and sheets of workbooks as text: their first lines, their separator, their header."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TextIO

from vckg.base.errors import InputError

OPENED = "an h5ad, a 10x .h5, a 10x folder, loom, zarr, h5mu, rds, a csv or tsv matrix, or a table of markers"
WORKBOOKS = (".xlsx", ".xlsm")
"""Endings of the workbooks whose first sheet is read."""
DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a file raises, plain or gzipped, that is cut off or damaged."""
NO_WORKBOOK = (
    *DAMAGED,
    zipfile.BadZipFile,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    SyntaxError,
)
"""What openpyxl raises on files that are no sound workbook."""
_HEAD_CHARACTERS = 1 << 20
_DECIMAL_COMMA = re.compile(r"([-+]?\d+),(\d+(?:[eE][-+]?\d+)?)")
_DECIMAL_POINT = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


def head_of_text(path: Path) -> str:
    """Return the first lines of a text file, gzipped or not.

    Raises
    ------
    InputError
        The file is empty or is not text.
    """
    with open_text(path) as file:
        head = file.read(_HEAD_CHARACTERS)
    if "\0" in head:
        raise InputError(f"{path}: is neither HDF5 nor text; give {OPENED}")
    if not head.strip():
        raise InputError(f"{path}: is empty; give {OPENED}")
    lines = [line for line in head.splitlines() if line.strip()]
    for part in (lines[:1], lines[1:21]):  # what `header_of` and the forms of marker tables split
        rows_of(path, part, separator_of(head))
    return head


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file for reading, gzipped or not; the byte order mark of spreadsheets is skipped.

    Of a workbook this is the first sheet as csv.

    Raises
    ------
    InputError
        What is read is not text, or is cut off or damaged.
    """
    if path.suffix.lower() in WORKBOOKS:
        yield _first_sheet(path)
        return
    try:
        with (
            gzip.open(path) if path.suffix == ".gz" else path.open("rb") as raw,
            io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text,
        ):
            yield text
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is neither HDF5 nor text; give {OPENED}") from error
    except DAMAGED as error:
        raise InputError(f"{path}: cannot be read, it may be cut off or damaged ({error})") from error


def _first_sheet(path: Path) -> TextIO:
    """Return the first sheet of a workbook as csv."""
    from openpyxl import load_workbook

    text = io.StringIO(newline="")
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows = book.worksheets[0].iter_rows(values_only=True)
        csv.writer(text).writerows([_as_text(value) for value in row] for row in rows)
        book.close()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except NO_WORKBOOK as error:
        raise InputError(
            f"{path}: cannot be read as a workbook ({error}); save its sheet as csv and give that"
        ) from error
    text.seek(0)
    return text


def _as_text(value: Any) -> str:
    """Return the text of a field of a sheet; a date as a spreadsheet shows it that made it of a symbol: 2-Sep."""
    if isinstance(value, date):
        return f"{value.day}-{value:%b}"
    return "" if value is None else str(value)


def separator_of(head: str) -> str:
    """Return the separator of a table from its first lines: a tab, a comma or a semicolon."""
    first = next(line for line in head.splitlines() if line.strip())
    return max("\t,;", key=first.count)


def rows_of(path: Path, lines: Iterable[str], separator: str) -> list[list[str]]:
    """Return the fields of the lines of a table; a field of 131,072 characters or more is refused."""
    try:
        return list(csv.reader(lines, delimiter=separator))
    except csv.Error as error:
        raise InputError(f"{path}: is not a table ({error}); give {OPENED}") from error


def header_of(head: str) -> list[str]:
    """Return the fields of the first line that holds text, without quotes."""
    first = next(line for line in head.splitlines() if line.strip())
    return [field.strip() for field in next(csv.reader([first], delimiter=separator_of(head)))]


def writes_decimal_commas(head: str) -> bool:
    """Whether a table writes 0,5 for one half, as R's ``write.csv2`` and spreadsheets of many countries do.

    A number such as 1,234 alone does not tell: it may be a thousand.
    """
    separator = separator_of(head)
    if separator == ",":
        return False
    lines = [line for line in head.splitlines() if line.strip()][1:21]
    fields = [field.strip() for row in csv.reader(lines, delimiter=separator) for field in row]
    if any(_DECIMAL_POINT.fullmatch(field) for field in fields):
        return False
    return any(_DECIMAL_COMMA.fullmatch(field) and not _THOUSANDS.fullmatch(field) for field in fields)


def with_decimal_points(field: str) -> str:
    """Return a number with a decimal comma with a point; other fields as they are."""
    found = _DECIMAL_COMMA.fullmatch(field.strip())
    return f"{found[1]}.{found[2]}" if found else field
