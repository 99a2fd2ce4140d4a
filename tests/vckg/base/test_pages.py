"""The frame of every page: self-contained, hostile text stays text, light and dark, keyboard and axe."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vckg.base import html as pages
from vckg.base.atomic import write_text

BODY = """{% extends "base.html.j2" %}
{% block eyebrow %}A test{% endblock %}
{% block lede %}<p>{{ lede }}</p>{% endblock %}
{% block main %}
<section><h2>Rows</h2>
<div class="controls"><label>Find <input type="search" data-filters="rows" data-counts="count"></label>
<span id="count" role="status"></span></div>
<div class="scroll" tabindex="0" role="region" aria-label="Rows">
<table class="data" id="rows" data-sortable><caption>Rows of a test</caption>
<thead><tr><th scope="col" data-sort="text">Name</th>
<th scope="col" data-sort="number" class="number">Size</th></tr></thead>
<tbody>{% for name, size in rows %}<tr><th scope="row">{{ name }}</th>
<td class="number" data-value="{{ size }}">{{ size }}</td></tr>{% endfor %}</tbody></table></div>
<p>{% for tone in ["good", "warn", "bad", "info", "plain"] %}
<span class="badge" data-tone="{{ tone }}">{{ tone }}</span>
<span class="note" data-tone="{{ tone }}">remark</span>{% endfor %}</p></section>
{% endblock %}
"""
HOSTILE = "<script>document.title='pwned'</script>\"'&\u202e </script><!--"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "body.html.j2"
    path.write_text(BODY)
    return path


def html(template: Path, **changes: object) -> str:
    variables = {"lede": "calm", "rows": [("b", 2), ("a10", 30), ("a9", 4)], **changes}
    return pages.render(template, title="A page", data={"block": {"hostile": HOSTILE}}, **variables)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner)))
def test_json_blocks_come_back_as_they_were_and_cannot_end_their_element(value: object) -> None:
    block = pages.script_json(value)
    assert json.loads(block) == value
    assert not re.search("[<>&\u2028\u2029]", block)


def test_a_number_that_is_not_finite_is_refused_rather_than_written_as_broken_json() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        pages.script_json(float("nan"))


def test_an_unknown_name_in_a_template_is_an_error(template: Path) -> None:
    template.write_text('{% extends "base.html.j2" %}{% block main %}{{ forgotten }}{% endblock %}')
    with pytest.raises(Exception, match="forgotten"):
        pages.render(template, title="A page")


def test_the_same_page_is_written_byte_for_byte_and_leaves_nothing_beside_it(
    template: Path, tmp_path: Path
) -> None:
    for name in ("one.html", "two.html"):
        write_text(tmp_path / "out" / name, html(template))
    one, two = (tmp_path / "out" / n for n in ("one.html", "two.html"))
    assert one.read_bytes() == two.read_bytes()
    assert sorted(p.name for p in one.parent.iterdir()) == ["one.html", "two.html"]


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(template: Path, tmp_path: Path, page, axe, theme: str) -> None:
    write_text(tmp_path / "page.html", html(template))
    page.emulate_media(color_scheme=theme)
    page.goto((tmp_path / "page.html").as_uri())
    assert axe(page) == []


@pytest.mark.browser
def test_hostile_text_is_shown_and_not_run(template: Path, tmp_path: Path, page) -> None:
    write_text(tmp_path / "page.html", html(template, lede=HOSTILE, rows=[(HOSTILE, 1)]))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "A page"
    assert page.evaluate("page.data('block').hostile") == HOSTILE
    assert HOSTILE.split()[0] in page.locator("tbody th").inner_text()


@pytest.mark.browser
def test_the_policy_stops_a_script_that_got_in_by_mistake(template: Path, tmp_path: Path, page) -> None:
    written = html(template).replace("</main>", "<script>document.title = 'pwned'</script></main>")
    write_text(tmp_path / "page.html", written)
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "A page"
    assert any("Content Security Policy" in error for error in page.errors)
    page.errors.clear()


@pytest.mark.browser
def test_rows_are_sorted_and_filtered_from_the_keyboard(template: Path, tmp_path: Path, page) -> None:
    write_text(tmp_path / "page.html", html(template))
    page.goto((tmp_path / "page.html").as_uri())
    names = lambda: page.locator("tbody tr:not([hidden]) th").all_inner_texts()  # noqa: E731
    page.get_by_role("button", name="Name").press("Enter")
    assert names() == ["a9", "a10", "b"]
    page.get_by_role("button", name="Size").press("Enter")
    assert names() == ["a10", "a9", "b"]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.get_by_role("searchbox").fill("a")
    assert names() == ["a10", "a9"]
    assert page.locator("#count").inner_text() == "2 of 3"


@pytest.mark.browser
def test_the_theme_follows_the_reader_and_can_be_chosen(template: Path, tmp_path: Path, page) -> None:
    write_text(tmp_path / "page.html", html(template))
    page.emulate_media(color_scheme="dark")
    page.goto((tmp_path / "page.html").as_uri())
    paper = lambda: page.evaluate("page.colour('--paper')")  # noqa: E731
    dark = paper()
    page.get_by_role("button", name="Theme").press("Enter")
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert paper() != dark
    page.get_by_role("button", name="Theme").press("Enter")
    assert paper() == dark
