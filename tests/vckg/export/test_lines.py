"""Columns to lines: each notation against the standard library's reader of it."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vckg.export import text_columns

# no surrogates (not text), no NUL for csv (its reader refuses it)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
TEXTS = st.lists(st.none() | TEXT, min_size=1, max_size=6)
LISTS = st.lists(st.lists(TEXT, max_size=3), min_size=1, max_size=6)


def written(table, line):
    file = io.BytesIO()
    tables = table if isinstance(table, list) else [table]
    text_columns.write_lines(file, tables, line)
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
    text = written(pa.table(columns), text_columns.json_objects)
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
        pa.table({"a": pa.array(texts, pa.string())}),
        lambda c: text_columns.csv_text(c["a"], list_separator=";"),
    )
    rows = text.split("\n")[:-1]
    assert len(rows) == len(texts)
    for row, value in zip(rows, texts, strict=True):
        flat = None if value is None else text_columns.tsv_text(pa.array([value]))[0].as_py()
        assert (row == "") == (value is None)
        assert value is None or next(csv.reader([row])) == [flat]


@settings(deadline=None)
@given(LISTS)
def test_tsv_lists_split_at_the_bar(lists):
    text = written(
        pa.table({"a": pa.array(lists, pa.list_(pa.string()))}), lambda c: text_columns.tsv_text(c["a"])
    )
    for row, values in zip(text.split("\n")[:-1], lists, strict=True):
        assert row.count("|") == max(0, len(values) - 1)
        assert not set(row) & set("\t\r")


@settings(deadline=None)
@given(TEXTS)
def test_xml_reads_back_but_for_what_xml_cannot_say(texts):
    column = text_columns.xml_text(pa.array(texts, pa.string()))
    for escaped, value in zip(column.to_pylist(), texts, strict=True):
        found = ElementTree.fromstring(f"<a>{escaped}</a>").text or ""
        said = "".join(" " if ord(c) < 32 and c not in "\t\n\r" else c for c in value or "")
        said = said.replace("\ufffe", " ").replace("\uffff", " ")
        assert found == said.replace("\r\n", "\n").replace("\r", "\n")


def test_batches_join_without_a_seam():
    table = pa.table({"a": ["1", "2", "3", "4", "5"], "b": [["x"], [], ["y", "z"], [], ["w"]]})
    parts = [table.slice(0, 2), table.slice(2, 0), table.slice(2, 2), table.slice(4)]
    rows = written(parts, text_columns.json_objects).splitlines()
    assert [json.loads(row).get("b") for row in rows] == [["x"], None, ["y", "z"], None, ["w"]]


@pytest.mark.parametrize("text", [text_columns.tsv_text, text_columns.json_text, text_columns.xml_text])
def test_a_dictionary_column_reads_as_its_words(text):
    plain = pa.array(["a", None, 'b "&', "a"])
    assert text(plain.dictionary_encode()).to_pylist() == text(plain).to_pylist()
    quoted = text_columns.csv_text(plain.dictionary_encode(), list_separator=";")
    assert quoted.to_pylist() == text_columns.csv_text(plain, list_separator=";").to_pylist()


def test_no_rows_write_nothing():
    assert written(pa.table({"a": pa.array([], pa.string())}), lambda c: c["a"]) == ""


@pytest.mark.parametrize("value", [1, -3, 0.5])
def test_numbers_stay_numbers(value):
    column = pa.array([value, None])
    assert json.loads(text_columns.json_text(column)[0].as_py()) == value
    assert text_columns.csv_text(column, list_separator=";").to_pylist() == [str(value), ""]
