"""The page that links the reports of several inputs."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from gather.inputs.command import _write_index


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_index_counts_links_and_fits(make_annotation, tmp_path: Path, page, axe, width, scheme) -> None:
    names = ["a" * 60, "one & two#3"]
    jobs = [SimpleNamespace(report=tmp_path / f"{name}.html") for name in names]
    unknown = make_annotation("1", label="unknown", curie="", status="unknown")
    outcomes = [SimpleNamespace(annotations=(make_annotation(), *more)) for more in ((), (unknown,))]
    _write_index(jobs, outcomes)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto((tmp_path / "index.html").as_uri())
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".lede").inner_text().startswith("2 of 3 cell sets named, in 2 inputs.")
    links = page.locator("tbody a")
    assert links.all_inner_texts() == names
    assert links.last.get_attribute("href") == "one%20%26%20two%233.html"
    assert page.locator("tbody tr").last.locator("td").all_inner_texts()[1:] == ["2", "1", "T cell"]
