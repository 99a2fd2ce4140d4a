"""The report in a browser: evidence unfolds, labels are text, the keyboard reaches everything."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gather.annotation import Mixture
from gather.report.page import Embedding
from tests.gather.report.report_pages import embedding, write


def open_page(page, path: Path) -> None:
    page.goto(path.as_uri())


def unfold_everything(page) -> None:
    for kind in ("details.item", "details.walk"):
        for box in page.locator(kind).all():
            box.locator(":scope > summary").click()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_axe_finds_nothing_with_everything_unfolded(
    make_annotation, tmp_path: Path, page, axe, theme: str, width: int
) -> None:
    statuses = ("named", "backed_off", "unknown", "ungrounded")
    by = ("retrieval", "llm", "fallback", "retrieval")
    sets = [
        make_annotation(s, status=s, decided_by=d, note="a remark" * (d == "fallback"), reasons=("E1",))
        for s, d in zip(statuses, by, strict=True)
    ]
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)
    model = {"name": "m", "calls": 4}
    options = {"parameters": {"score": "calibrated"}, "versions": {"vckg": "0"}, "model": model}
    open_page(page, write(tmp_path, sets, embedding=embedding([0, 1, 2, 3, -1]), **options))
    page.locator("button.open").nth(1).click()
    unfold_everything(page)
    page.get_by_role("button", name="Confidence", exact=True).first.click()
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_links_to_the_least_sure_sets_can_be_tapped_on_a_phone(make_annotation, tmp_path: Path, page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    open_page(page, write(tmp_path, [make_annotation(s, confidence=0.3) for s in ("first", "second")]))
    links = page.locator(".first button")
    assert links.count() == 2
    for i in range(2):
        links.nth(i).click(timeout=2000)
        assert page.locator("#chosen").inner_text() == f"Evidence for {('first', 'second')[i]}"


@pytest.mark.browser
def test_evidence_unfolds_to_walks_sources_and_publications(make_annotation, tmp_path: Path, page) -> None:
    open_page(page, write(tmp_path, [make_annotation("cluster 0")]))
    assert page.locator("#chosen").inner_text() == "Evidence for cluster 0"
    heads = page.locator("#detail thead").first.inner_text()
    assert "Genes that speak" in heads, "a gene that only reaches a type is counted with its evidence"
    item = page.locator("details.item").first
    assert "reached by 2 genes" in item.locator("summary").first.inner_text()
    item.locator("summary").first.click()
    walk = item.locator("details.walk").nth(1)
    assert walk.inner_text().startswith("CD3D –participates in→ TCR signalling ←capable of– T cell")
    walk.locator("summary").click()
    walk.locator(".inside").wait_for()
    text = walk.inner_text()
    for said in ("CellMarker 2.0", "CC-BY-4.0", "knowledge assertion", "biolink:expressed_in", "none given"):
        assert said in text
    links = walk.locator("a").evaluate_all("all => all.map(a => a.href)")
    assert links == ["https://pubmed.ncbi.nlm.nih.gov/1/", "https://pubmed.ncbi.nlm.nih.gov/2/"]


@pytest.mark.browser
def test_warnings_contradictions_and_the_models_part_are_shown(make_annotation, tmp_path: Path, page) -> None:
    chosen = make_annotation(decided_by="llm", reasons=("E1", "E3"), ambiguous_genes=("SEPT2",))
    open_page(page, write(tmp_path, [chosen]))
    text = page.locator("#detail").inner_text()
    assert "FOXP3 not measured" in text
    assert "CD4 HGNC:1678 is expected but hardly there: in 2 % of the set's cells, 40 % of the file's" in text
    assert "A language model chose among the candidates; it named E1, E3 as reasons" in text
    assert page.locator("summary .badge").all_inner_texts() == ["named by the model"] * 2
    assert "SEPT2" in text
    assert page.locator("#provenance").inner_text().count("abc123") == 1


@pytest.mark.browser
def test_the_drawing_joins_genes_meeting_points_and_cell_types(make_annotation, tmp_path: Path, page) -> None:
    open_page(page, write(tmp_path, [make_annotation()]))
    picture = page.locator(".picture svg")
    assert picture.locator("title").all_text_contents() == [
        "CD3D (HGNC:1673)",
        "CD3E (HGNC:1674)",
        "TCR signalling (GO:0050852)",
        "T cell (CL:0000084)",
        "B cell (CL:0000236)",
    ]
    assert picture.get_attribute("aria-label").startswith("genes: 2, nodes where their walks meet: 1,")
    picture.locator("g.node", has_text="TCR signalling").hover()
    lit = picture.locator("path.on").evaluate_all(
        "all => all.map(l => [l.dataset.from, l.dataset.to]).sort()"
    )
    assert lit == [["GO:0050852", "CL:0000084"], ["HGNC:1673", "GO:0050852"], ["HGNC:1674", "GO:0050852"]]


HOSTILE = [
    "<script>document.title='pwned'</script>",
    "</script><img src=x onerror=\"document.title='pwned'\">",
    "\"'`>{{7*7}}<!--",
    "\u202egnp.exe \u0645\u0631\u062d\u0628\u0627",
    "x" * 10_000,
    "",
]


@pytest.mark.browser
@pytest.mark.parametrize("evil", HOSTILE, ids=["script", "closing", "quotes", "rtl", "10kB", "empty"])
def test_hostile_labels_are_text_everywhere(make_annotation, tmp_path: Path, page, evil: str) -> None:
    base = make_annotation()
    item = replace(base.evidence[0], name=evil, description=evil, category=evil or "Cell")
    hostile = make_annotation(
        evil,
        label=evil,
        note=evil,
        evidence=(item,),
        convergence=(replace(base.convergence[0], name=evil),),
        candidates=(replace(base.candidates[0], label=evil),),
        coverage=(replace(base.coverage[0], message=evil, curie=f"javascript:{evil}"),),
        query_genes=(evil,),
        ungrounded_genes=(evil,),
    )
    extra = {"parameters": {evil: evil}, "versions": {"x": evil}, "model": {"name": evil}}
    path = write(tmp_path, [hostile, base], title=evil or "t", embedding=embedding([0, 1]), **extra)
    open_page(page, path)
    unfold_everything(page)
    page.get_by_role("button", name="Confidence", exact=True).first.click()
    page.get_by_role("button", name="Label", exact=True).first.click()
    assert page.title() != "pwned"
    assert page.locator("img").count() == 0
    assert page.locator("script:not([type])").count() == 1
    assert page.locator("a[href^=javascript]").count() == 0
    assert page.locator("#row-0 td bdi").first.text_content() == evil
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#row-0").bounding_box()["height"] < 150


@pytest.mark.browser
def test_the_whole_page_works_from_the_keyboard(make_annotation, tmp_path: Path, page) -> None:
    sets = [
        make_annotation(name, label=label) for name, label in (("b", "B cell"), ("a", "T cell"), ("c", "NK"))
    ]
    open_page(page, write(tmp_path, sets, embedding=embedding([0, 1, 2])))

    def reach(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate("document.activeElement.textContent.trim()")
            if focused.startswith(name):
                return
        raise AssertionError(f"{name!r} is not reached by Tab")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reach("Confidence")
    page.keyboard.press("Enter")
    assert page.locator("#by-confidence").get_attribute("aria-pressed") == "true"
    reach("Cell set")
    page.keyboard.press("Space")
    assert page.locator("tbody button.open").all_inner_texts()[:3] == ["a", "b", "c"]
    reach("c")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "chosen"
    assert page.locator("#detail .label").inner_text() == "NK"
    assert page.locator("tr.chosen").get_attribute("id") == "row-2"
    assert page.locator("#next").is_disabled()
    reach("T cell")
    page.keyboard.press("Enter")
    assert page.locator("details.item[open]").count() == 1


@pytest.mark.browser
def test_a_click_on_a_cell_opens_its_set_and_the_legend_lights_a_label(
    make_annotation, tmp_path: Path, page
) -> None:
    points = Embedding(
        "X_umap", np.array([[0, 0], [1, 0], [0, 1]], np.float32), np.array([0, 1, 1], np.int32)
    )
    sets = [make_annotation("left"), make_annotation("right", label="B cell")]
    open_page(page, write(tmp_path, sets, embedding=points))
    page.locator("#embedding").scroll_into_view_if_needed()
    box = page.locator("#embedding").bounding_box()
    side = 0.94 * min(box["width"], box["height"])
    page.mouse.move(box["x"] + box["width"] / 2 + side / 2, box["y"] + box["height"] / 2 + side / 2)
    assert page.locator("#under").inner_text() == "right: B cell, confidence 0.90"
    page.mouse.down()
    page.mouse.up()
    assert page.locator("#chosen").inner_text() == "Evidence for right"
    before = page.locator("#embedding").evaluate("c => c.toDataURL()")
    page.get_by_role("button", name="B cell").first.click()
    assert page.locator("#embedding").evaluate("c => c.toDataURL()") != before


@pytest.mark.browser
def test_a_thousand_cell_sets_stay_usable(make_annotation, tmp_path: Path, page) -> None:
    sets = [make_annotation(str(i), label=f"type{i % 90}x") for i in range(1000)]
    open_page(page, write(tmp_path, sets, embedding=embedding(list(range(1000)), n=60_000)))
    assert page.locator("#table tbody tr").count() == 1000
    assert page.locator("details").count() < 50  # evidence of the chosen set only, and unfolded on demand
    page.get_by_role("searchbox").fill("type89x")
    assert page.locator("#count").inner_text() == "11 of 1,000"
    page.locator("#row-989 button").click()
    assert page.locator("#chosen").inner_text() == "Evidence for 989"
    assert page.evaluate("page.data('report').embedding.points") <= 60_000


@pytest.mark.browser
def test_the_table_is_there_without_a_script(make_annotation, tmp_path: Path, browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    open_page(page, write(tmp_path, [make_annotation("cluster 0")]))
    assert "T cell" in page.locator("#table").inner_text()
    assert "which your browser does not run" in page.locator("#evidence").inner_text()
    context.close()


@pytest.mark.browser
def test_what_to_look_at_first_and_why_is_said(make_annotation, tmp_path: Path, page) -> None:
    sets = [
        make_annotation("sure", confidence=0.95),
        make_annotation("doubtful", label="B cell", confidence=0.3),
        make_annotation(
            "lost", label="unknown", curie="", status="unknown", n_cells=60, confidence=float("nan")
        ),
    ]
    open_page(page, write(tmp_path, sets, embedding=embedding([0, 1, 2])))
    first = page.locator(".first")
    doubtful = "doubtful (confidence 0.30), lost (unknown)"  # 70 cells in doubt, and 60
    assert first.inner_text().split(": ")[1] == doubtful
    assert page.locator("#row-0 td.because").inner_text() == "CD3D, CD3E"
    assert page.locator("#row-2 td").first.inner_text() == "unknown"  # once: the badge would repeat it
    shares = page.locator(".answer .because li").all_inner_texts()
    assert [share.split()[0] for share in shares] == ["CD3D", "CD3E"]
    before = page.locator("#embedding").evaluate("c => c.toDataURL()")
    first.get_by_role("button", name="doubtful").click()
    assert page.locator("#chosen").inner_text() == "Evidence for doubtful"
    assert page.locator("#embedding").evaluate("c => c.toDataURL()") != before  # its name is in the accent
    colours = page.locator("#table .swatch").evaluate_all("all => all.map(s => s.style.background)")
    assert len(set(colours)) == 3


@pytest.mark.browser
def test_a_mixed_set_has_both_names_and_the_drawing_only_what_chance_does_not_explain(
    make_annotation, tmp_path: Path, page
) -> None:
    both = Mixture(("CL:1", "CL:2"), ("monocyte", "T cell"), share=0.8, expected=0.1, fdr=0.01)
    base = make_annotation("doublets", label="unknown", curie="", status="mixed", mixture=both)
    by_chance = replace(base.convergence[0], curie="GO:2", name="by chance", fdr=0.4)
    mixed = replace(base, convergence=(*base.convergence, by_chance))
    open_page(page, write(tmp_path, [mixed], embedding=embedding([0])))
    assert page.locator("#row-0 td bdi").first.inner_text() == "monocyte + T cell"
    assert page.locator("#detail .label").inner_text() == "monocyte + T cell"
    assert page.locator("#legend bdi").all_inner_texts() == ["mixed"]
    titles = page.locator(".picture title").all_text_contents()
    assert "TCR signalling (GO:0050852)" in titles
    assert "by chance (GO:2)" not in titles
    assert page.locator("summary", has_text="1 more that chance may explain").count() == 1
