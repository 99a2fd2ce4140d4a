"""Columns to lines: each notation against the standard library's reader of it."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vckg.export import text_columns as lines

# no surrogates (not text), no NUL for csv (its reader refuses it)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
TEXTS = st.lists(st.none() | TEXT, min_size=1, max_size=6)
LISTS = st.lists(st.lists(TEXT, max_size=3), min_size=1, max_size=6)


def written(table, line, **options):
    file = io.BytesIO()
    tables = table if isinstance(table, list) else [table]
    lines.write_lines(file, tables, line, **options)
    return file.getvalue().decode()


@settings(deadline=None)
@given(TEXTS, LISTS)
def test_json_lines_read_back_what_was_said(texts, lists):
    k = min(len(texts), len(lists))
    columns = {
        "id": pa.array([str(i) for i in range(k)]),
        "text": pa.array(texts[:k], pa.string()),
        "list": pa.array(lists[:k], pa.list_(pa.string())),
    }
    text = written(pa.table(columns), lines.json_objects)
    expected = [
        {"id": str(i)}
        | ({} if texts[i] is None else {"text": texts[i]})
        | ({"list": lists[i]} if lists[i] else {})
        for i in range(k)
    ]
    assert [json.loads(line) for line in text.split("\n")[:-1]] == expected


@settings(deadline=None)
@given(TEXTS)
def test_csv_reads_back_on_one_line_each(texts):
    text = written(
        pa.table({"a": pa.array(texts, pa.string())}), lambda c: lines.csv_text(c["a"], list_separator=";")
    )
    rows = text.split("\n")[:-1]
    assert len(rows) == len(texts)
    for row, value in zip(rows, texts, strict=True):
        flat = None if value is None else lines.tsv_text(pa.array([value]))[0].as_py()
        assert (row == "") == (value is None)
        assert value is None or next(csv.reader([row])) == [flat]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r-1", "\n@x"])
def test_no_cell_of_a_table_for_people_is_a_formula(text):
    columns = [pa.array([text]), pa.array([text]).dictionary_encode(), pa.array([[text, "b"]])]
    for column in columns:
        cell = next(csv.reader([lines.csv_text(column, list_separator=";", for_people=True)[0].as_py()]))[0]
        assert cell.startswith("'")
        plain = next(csv.reader([lines.csv_text(column, list_separator=";")[0].as_py()]))[0]
        assert not plain.startswith("'")
    kept = pa.array(["1-1", "a=b", None, ""])
    assert lines.csv_text(kept, list_separator=";", for_people=True) == lines.csv_text(
        kept, list_separator=";"
    )


@settings(deadline=None)
@given(LISTS)
def test_tsv_lists_split_at_the_bar(lists):
    text = written(pa.table({"a": pa.array(lists, pa.list_(pa.string()))}), lambda c: lines.tsv_text(c["a"]))
    for row, values in zip(text.split("\n")[:-1], lists, strict=True):
        assert row.count("|") == max(0, len(values) - 1)
        assert not set(row) & set("\t\r")


@settings(deadline=None)
@given(TEXTS)
def test_xml_reads_back_but_for_what_xml_cannot_say(texts):
    column = lines.xml_text(pa.array(texts, pa.string()))
    for escaped, value in zip(column.to_pylist(), texts, strict=True):
        found = ElementTree.fromstring(f"<a>{escaped}</a>").text or ""
        said = "".join(" " if ord(c) < 32 and c not in "\t\n\r" else c for c in value or "")
        said = said.replace("\ufffe", " ").replace("\uffff", " ")
        assert found == said.replace("\r\n", "\n").replace("\r", "\n")


def test_batches_join_without_a_seam():
    table = pa.table({"a": ["1", "2", "3", "4", "5"], "b": [["x"], [], ["y", "z"], [], ["w"]]})
    parts = [table.slice(0, 2), table.slice(2, 0), table.slice(2, 2), table.slice(4)]
    text = written(parts, lines.json_objects, between=",")
    assert [d.get("b") for d in json.loads(f"[{text}]")] == [["x"], None, ["y", "z"], None, ["w"]]


@pytest.mark.parametrize("text", [lines.tsv_text, lines.json_text, lines.xml_text])
def test_a_dictionary_column_reads_as_its_words(text):
    plain = pa.array(["a", None, 'b "&', "a"])
    assert text(plain.dictionary_encode()).to_pylist() == text(plain).to_pylist()
    quoted = lines.csv_text(plain.dictionary_encode(), list_separator=";")
    assert quoted.to_pylist() == lines.csv_text(plain, list_separator=";").to_pylist()


def test_no_rows_write_nothing():
    assert written(pa.table({"a": pa.array([], pa.string())}), lambda c: c["a"]) == ""


@pytest.mark.parametrize("value", [1, -3, 0.5])
def test_numbers_stay_numbers(value):
    column = pa.array([value, None])
    assert json.loads(lines.json_text(column)[0].as_py()) == value
    assert lines.csv_text(column, list_separator=";").to_pylist() == [str(value), ""]
