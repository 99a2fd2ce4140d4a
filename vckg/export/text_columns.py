"""Write Arrow columns as lines of text, without a Python step per row.

Lines are joined columns, and their bytes go to the file without a copy. Each function whose name ends in ``_text``
returns a column in one notation, with nulls as empty text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from vckg.graph.string_array import whole

Column: TypeAlias = pa.Array
Columns: TypeAlias = Mapping[str, Column]
Format: TypeAlias = Callable[[Columns], Column]

_XML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
#: Characters that XML 1.0 cannot express.
_NOT_XML = "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x{fffe}\\x{ffff}]"


def write_lines(file: BinaryIO, tables: Iterable[pa.Table], line: Format) -> None:
    """Write one line per row; `line` turns the columns of a table into a text column.

    One table is in memory at a time.
    """
    for table in tables:
        if table.num_rows:
            text = line(columns_of(table))
            whole = pa.ListArray.from_arrays([0, len(text)], text)
            file.write(pc.binary_join(whole, "\n")[0].as_buffer())
            file.write(b"\n")


def join(*parts: Column | str) -> Column:
    """Join columns and constants row by row; the last part is the separator."""
    return pc.binary_join_element_wise(*parts, null_handling="replace", null_replacement="")


def tsv_text(column: Column) -> Column:
    """Return a column in KGX TSV: unquoted, tabs and line breaks as blanks, lists joined by ``|``."""
    if pa.types.is_list(column.type):
        inner = _swap(_one_line(column.flatten()), "|", " ")
        return pc.binary_join(_with_values(column, inner), "|")
    return _words(column, lambda words: _one_line(_text(words)))


def csv_text(column: Column, *, list_separator: str) -> Column:
    """Return a column in CSV: text in double quotes, numbers bare, null as nothing (not ``""``)."""
    if pa.types.is_list(column.type):
        inner = _swap(column.flatten(), list_separator, ",")
        joined = pc.binary_join(_with_values(column, inner), list_separator)
        return _quoted(pc.if_else(pc.equal(joined, ""), pa.scalar(None, pa.string()), joined))
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        return _words(column, _quoted)
    return _text(column)


def _quoted(text: Column) -> Column:
    quoted = pc.binary_join_element_wise('"', _swap(_one_line(text), '"', '""'), '"', "")
    return pc.fill_null(quoted, "")


def json_text(column: Column) -> Column:
    """Return a column as JSON values; null stays null (see `json_objects`)."""
    if pa.types.is_list(column.type):
        values = _with_values(column, json_text(column.flatten()))
        return pc.binary_join_element_wise("[", pc.binary_join(values, ","), "]", "")
    if pa.types.is_string(column.type) or pa.types.is_dictionary(column.type):
        return _words(column, _json_string)
    return column.cast(pa.string())


def _json_string(text: Column) -> Column:
    text = _swap(_swap(text, "\\", "\\\\"), '"', '\\"')
    for code in _controls(text):
        text = pc.replace_substring(text, chr(code), f"\\u{code:04x}")
    return pc.binary_join_element_wise('"', text, '"', "")


def json_objects(columns: Columns) -> Column:
    """Return one JSON object per row, without the keys whose value is null or an empty list.

    The first column must have a value in every row.
    """
    parts: list[Column | str] = ["{"]
    for index, (name, column) in enumerate(columns.items()):
        value = json_text(column)
        assert index or not value.null_count, f"{name}: the first column has a value in every row"
        if pa.types.is_list(column.type):
            value = pc.if_else(pc.equal(value, "[]"), pa.scalar(None, pa.string()), value)
        parts.append(pc.binary_join_element_wise(f'{"," if index else ""}"{name}":', value, ""))
    return join(*parts, "}", "")


def xml_text(column: Column) -> Column:
    """Return a column as XML character data, lists joined by ``|``."""
    if pa.types.is_list(column.type):
        return xml_text(pc.binary_join(column, "|"))
    return _words(column, _xml_string)


def _xml_string(column: Column) -> Column:
    text = _text(column)
    for plain, escaped in _XML.items():
        text = _swap(text, plain, escaped)
    odd = pc.any(pc.match_substring_regex(text, _NOT_XML)).as_py()
    return pc.replace_substring_regex(text, _NOT_XML, " ") if odd else text


def columns_of(table: pa.Table) -> dict[str, Column]:
    """Return the columns of a table by name, each as one array."""
    return {n: whole(c) for n, c in zip(table.column_names, table.columns, strict=True)}


def _text(column: Column) -> Column:
    return pc.fill_null(column.cast(pa.string()), "")


def _words(column: Column, change: Callable[[Column], Column]) -> Column:
    """Apply `change` to a text column; to a dictionary column once per distinct word."""
    if not pa.types.is_dictionary(column.type):
        return change(column)
    with_null = pa.concat_arrays([column.dictionary, pa.nulls(1, column.dictionary.type)])
    return change(with_null).take(pc.fill_null(column.indices.cast(pa.int32()), len(column.dictionary)))


def _swap(text: Column, old: str, new: str) -> Column:
    """Replace `old` where it occurs; a search is several times cheaper than a copy."""
    return pc.replace_substring(text, old, new) if pc.any(pc.match_substring(text, old)).as_py() else text


def _one_line(text: Column) -> Column:
    if any(pc.any(pc.match_substring(text, c)).as_py() for c in "\t\r\n"):
        return pc.replace_substring_regex(text, "[\\t\\r\\n]+", " ")
    return text


def _with_values(column: Column, values: Column) -> Column:
    """Return the same lists with other values. Offsets come from the lengths, since the array may be a slice."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int64())).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pa.ListArray.from_arrays(offsets, values)


def _controls(text: Column) -> list[int]:
    """Return the control characters that occur; one scan where there are none."""
    if not pc.any(pc.match_substring_regex(text, "[\\x00-\\x1f]")).as_py():
        return []
    return [code for code in range(0x20) if pc.any(pc.match_substring(text, chr(code))).as_py()]
