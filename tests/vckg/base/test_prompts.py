"""Prompts: front matter and variables are checked, the id follows the words."""

import re

import pytest

from vckg.base.errors import InputError
from vckg.base.prompts import parse_prompt

SOURCE = "---\nname: ask\nversion: 1\nvariables: gene, cell\n---\nDoes {{gene}} mark {{ cell }}?\n"


def test_a_prompt_is_read_and_rendered() -> None:
    prompt = parse_prompt(SOURCE)
    assert prompt.render(gene="CD4", cell="T cell") == "Does CD4 mark T cell?"
    assert re.fullmatch(r"ask@[0-9a-f]{8}", prompt.id)


def test_the_id_follows_the_text_and_the_version_only() -> None:
    base = parse_prompt(SOURCE).id
    assert parse_prompt(SOURCE.replace("Does", "Would")).id != base
    assert parse_prompt(SOURCE.replace("version: 1", "version: 2")).id != base
    assert parse_prompt(SOURCE.replace("gene, cell", "cell,gene")).id == base


def test_a_value_that_looks_like_a_variable_is_not_expanded() -> None:
    assert parse_prompt(SOURCE).render(gene="{{cell}}", cell="x") == "Does {{cell}} mark x?"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"gene": "CD4"}, "no value for cell"),
        ({"gene": "CD4", "cell": "x", "tissue": "y"}, "no place for tissue"),
    ],
)
def test_missing_and_unknown_variables_are_refused(values: dict[str, str], fault: str) -> None:
    with pytest.raises(InputError, match=f"ask@.*: {fault}"):
        parse_prompt(SOURCE).render(**values)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("no front matter", "no front matter"),
        ("---\nname: a\nversion: 1\n---\nx", "wanted exactly"),
        ("---\nname: a\nversion: 1\nvariables: b\n---\nx", "declares"),
        ("---\nname: a\nversion: 1\nvariables:\nnonsense\n---\nx", "not 'key: value'"),
    ],
)
def test_a_malformed_prompt_is_refused_with_its_reason(source: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_prompt(source, where="p.md")
