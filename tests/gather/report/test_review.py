"""Review in the page: by keyboard alone, undone, kept over a reload, saved as decisions.json; comments stay text."""

import json
from pathlib import Path

import pytest

from gather.report.page import write_report
from gather.report.review_block import review_block
from gather.review.decisions import read_decisions, standing

pytestmark = pytest.mark.browser
MANIFEST = {"content_hash": "abc", "nodes": 1, "edges": 1, "sources": {}}
EVIL = "<img src=x onerror=\"document.title='pwned'\"></script>\u202e\u0007 'x"


@pytest.fixture
def reviewed_page(make_annotation, blood_graph, tmp_path: Path):
    """A function that writes a page of `n` sets that can be reviewed."""

    def write(n: int = 4, **changes: object) -> Path:
        sets = [make_annotation(str(i), **changes) for i in range(n)]
        block = review_block(blood_graph, ["c0"], sets, "gather")
        return write_report(sets, tmp_path / "r.html", title="cells.h5ad", graph=MANIFEST, review=block)

    return write


def open_as(page, path: Path, reviewer: str = "Ada Lovelace") -> None:
    page.goto(path.as_uri())
    if reviewer:
        page.locator("#reviewer").fill(reviewer)
        page.locator("#row-0 button").click()


def saved(page, folder: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save decisions.json").click()
    download.value.save_as(folder / "decisions.json")
    return folder / "decisions.json"


def column(page, n: int) -> list[str]:
    return [page.locator(f"#review-{i}").inner_text() for i in range(n)]


def test_a_review_by_keyboard_alone_is_saved_whole(reviewed_page, page, tmp_path: Path) -> None:
    page.goto(reviewed_page().as_uri())
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "reviewer":
            break
    page.keyboard.type("Ada Lovelace")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "0":
            break
    page.keyboard.press("Enter")
    page.keyboard.press("a")  # set 0; then set 1 is open
    assert page.locator("#chosen").inner_text() == "Evidence for 1"
    page.keyboard.press("c")
    page.keyboard.type("markers of B cells")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "review-search"
    page.keyboard.type("monoc")
    page.keyboard.press("Enter")  # set 1: monocyte
    page.keyboard.press("1")  # set 2: the first other candidate
    page.keyboard.press("u")
    assert page.locator("#chosen").inner_text() == "Evidence for 2"
    assert column(page, 4) == ["accepted", "changed: monocyte", "open", "open"]
    assert page.locator("#review-progress").inner_text() == "2 of 4 reviewed"
    decisions = read_decisions(saved(page, tmp_path))
    assert [e.action for e in decisions.history] == ["accept", "choose", "choose", "undo"]
    decided = standing(decisions.history)
    assert decided["1"].curie == "CL:0000576"
    assert decided["1"].reason == "markers of B cells"
    assert (decided["0"].label, decided["0"].reviewer) == ("T cell", "Ada Lovelace")
    assert decisions.cell_sets == ("0", "1", "2", "3")


def test_a_reload_keeps_the_decisions_and_another_file_has_its_own(reviewed_page, page) -> None:
    path = reviewed_page()
    open_as(page, path)
    page.keyboard.press("a")
    page.reload()
    assert column(page, 4) == ["accepted", "open", "open", "open"]
    assert page.locator("#reviewer").input_value() == "Ada Lovelace"
    page.locator("#row-0 button").click()
    assert "Ada Lovelace accepted T cell" in page.locator("#review-state").inner_text()
    page.get_by_role("button", name="Undo", exact=True).click()
    page.reload()
    assert column(page, 4) == ["open"] * 4
    page.goto(reviewed_page(n=3).as_uri())
    assert column(page, 3) == ["open"] * 3


def test_damaged_storage_is_put_aside_and_said(reviewed_page, page) -> None:
    open_as(page, reviewed_page())
    page.keyboard.press("a")
    place = page.evaluate("Object.keys(localStorage).find((k) => k.startsWith('gather-decisions'))")
    page.evaluate("(place) => localStorage.setItem(place, '[{\"id\": 3}]')", place)
    page.reload()
    assert "could not be read" in page.locator("#review-problem").inner_text()
    assert column(page, 4) == ["open"] * 4
    assert page.evaluate("(place) => localStorage.getItem(`${place}:unreadable`)", place) == '[{"id": 3}]'


def test_two_tabs_of_one_page_add_to_one_history(reviewed_page, page) -> None:
    path = reviewed_page()
    open_as(page, path)
    other = page.context.new_page()
    open_as(other, path, reviewer="Alan Turing")
    page.keyboard.press("a")
    other.locator("#row-3 button").click()
    other.keyboard.press("1")
    page.locator("#review-3", has_text="changed").wait_for()
    assert column(page, 4) == column(other, 4) == ["accepted", "open", "open", "changed: B cell"]


def test_hostile_comments_stay_text(reviewed_page, page, tmp_path: Path, axe) -> None:
    open_as(page, reviewed_page(label=EVIL), reviewer=EVIL)
    page.locator("#review-reason").fill(EVIL)
    page.get_by_role("button", name="Save as a comment only").click()
    page.keyboard.press("a")
    page.locator("#row-0 button").click()
    assert page.locator("img").count() == 0
    assert page.title() != "pwned"
    assert EVIL.replace("\u0007", "") in page.locator(".review .log").inner_text()
    assert axe(page) == []
    decisions = json.loads(saved(page, tmp_path).read_text())
    assert decisions["history"][0]["reason"] == EVIL.replace("\u0007", "")
    read_decisions(tmp_path / "decisions.json")


def test_without_a_reviewer_nothing_is_decided(reviewed_page, page) -> None:
    page.goto(reviewed_page().as_uri())
    page.locator("#row-0 button").click()
    page.keyboard.press("a")
    assert "Give the name of the reviewer" in page.locator("#review-problem").inner_text()
    assert page.evaluate("document.activeElement.id") == "reviewer"
    assert column(page, 4) == ["open"] * 4


@pytest.mark.parametrize("width", [1280, 375])
def test_axe_finds_nothing_while_the_search_is_open(reviewed_page, page, axe, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_as(page, reviewed_page())
    page.keyboard.press("1")
    page.locator("#row-0 button").click()
    page.locator("#review-search").fill("cell")
    page.locator("#review-matches li").first.wait_for()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_synonym_finds_its_type_and_labels_come_first(
    make_annotation, page, tmp_path: Path, core_graph
) -> None:
    """Of the graph that people have; its list of cell types keeps the page small."""
    sets = [make_annotation("0")]
    block = review_block(core_graph, ["c0"], sets, "gather")
    path = write_report(sets, tmp_path / "r.html", title="t", graph=MANIFEST, review=block)
    assert len(block["terms"]) > 3000
    assert path.stat().st_size < 600_000
    open_as(page, path)
    page.locator("#review-search").fill("natural killer cell")
    assert page.locator("#review-matches li").first.inner_text() == "natural killer cell CL:0000623"
    page.locator("#review-search").fill("beta islet cell")
    page.locator("#review-matches li", has_text="CL:0000169").click()
    assert page.locator("#review-0").inner_text() == "changed: type B pancreatic cell"


def test_a_thousand_sets_are_reviewed_without_a_wait(reviewed_page, page, tmp_path: Path) -> None:
    page.goto(reviewed_page(1000).as_uri())
    page.evaluate("""() => {  // 995 earlier decisions, as the page keeps them
      const head = page.data("review-data");
      const events = head.cell_sets.slice(0, 995).map((name, i) => ({ id: i.toString(16).padStart(16, "0"),
        date: new Date(1.7e12 + i).toISOString(), reviewer: "Ada", cell_set: name, action: "accept", label: "T cell",
        curie: "CL:0000084", reason: "", undoes: "" }));
      localStorage.setItem(`gather-decisions:${head.graph}:${head.answers}`, JSON.stringify(events));
    }""")
    page.reload()
    assert page.locator("#review-progress").inner_text() == "995 of 1,000 reviewed"
    page.locator("#reviewer").fill("Ada Lovelace")
    page.get_by_role("button", name="Next open set").click()
    assert page.locator("#chosen").inner_text() == "Evidence for 995"
    waits = page.evaluate("""() => Array.from({ length: 5 }, () => {
      const start = performance.now();
      document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }));
      return performance.now() - start;
    })""")
    assert page.locator("#review-progress").inner_text() == "1,000 of 1,000 reviewed"
    assert sorted(waits)[2] < 1000  # milliseconds, on a busy machine
    decisions = read_decisions(saved(page, tmp_path))
    assert len(standing(decisions.history)) == 1000
    page.reload()
    assert page.locator("#review-999").inner_text() == "accepted"
