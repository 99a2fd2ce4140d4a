"""Recipes for other places name options, commands, dependencies and tasks that exist."""

import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import typer
import yaml

from arena.runner.inspect_tasks import TASK_MAKERS
from arena.tasks import TASKS
from gather.cli import app
from vckg.export.kgx import biolink_class
from vckg.graph.schema import CATEGORIES, RELATIONS

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Names on conda-forge where they differ from PyPI's.
CONDA = {"igraph": "python-igraph"}
HOME = PROJECT["urls"]["Homepage"]
#: What each registry's own schema requires of an entry.
REQUIRED = {
    "scverse-meta": (
        "name", "description", "project_home", "documentation_home", "license", "tags", "primary_category",
        "language", "category", "install",
    ),
    "inspect-evals-eval": ("full_title", "common_title", "description", "contributors", "source", "tasks"),
    "biocontext-meta": (
        "@context", "@type", "@id", "identifier", "name", "description", "codeRepository", "maintainer", "license",
        "applicationCategory", "keywords", "programmingLanguage",
    ),
    "kg-registry": ("id", "category", "layout", "name", "domains", "products"),
}  # fmt: skip


def annotate_options() -> set[str]:
    command: Any = typer.main.get_command(app)
    return {option for parameter in command.commands["annotate"].params for option in parameter.opts}


def registries() -> dict[str, Any]:
    """Return the entries by name; of a page it is the front matter."""
    texts = {p: p.read_text(encoding="utf-8") for p in (RECIPES / "registries").iterdir()}
    return {p.stem: yaml.safe_load(t.split("---\n")[1] if p.suffix == ".md" else t) for p, t in texts.items()}


def strings(value: Any) -> list[str]:
    """Return every string inside lists and mappings."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for part in inner for text in strings(part)]


def test_conda_lists_the_dependencies_and_commands_of_the_project() -> None:
    """Conda has no extras: its package brings clusters and single cells, too."""
    text = (RECIPES / "bioconda" / "meta.yaml").read_text(encoding="utf-8")
    extras = PROJECT["optional-dependencies"]
    wanted = [line.split(">=") for line in (*PROJECT["dependencies"], *extras["leiden"], *extras["cells"])]
    listed = re.findall(r"^    - (\S+) >=(\S+)$", text.partition("  run:\n")[2], re.MULTILINE)
    assert sorted(listed) == sorted(
        [("python", "3.11"), *((CONDA.get(name, name), least) for name, least in wanted)]
    )
    assert [k for k, v in PROJECT["scripts"].items() if f"- {k} = {v}" not in text] == []


def test_no_line_of_the_conda_recipe_reads_as_a_selector() -> None:
    """Conda drops a line that ends in square brackets, unless the expression in them holds."""
    text = (RECIPES / "bioconda" / "meta.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^.*\[[^\[\]]+\]\s*$", text, re.MULTILINE) == []
    assert "    - gather\n" in text.partition("  imports:\n")[2]


def test_the_release_has_one_version_everywhere() -> None:
    version = PROJECT["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    texts = {p: p.read_text(encoding="utf-8") for p in RECIPES.rglob("*") if p.is_file()}
    stated = {
        (path.name, found)
        for path, text in texts.items()
        for found in re.findall(
            r"""(?:version = |^version: |vckg=|@TOOL_VERSION@">)"?(\d+\.\d+\.\d+)""", text, re.MULTILINE
        )
    }
    assert {name for name, _ in stated} == {
        "meta.yaml", "environment.yml", "gather_annotate.xml", "kg-registry.md",
    }  # fmt: skip
    assert {found for _, found in stated} == {version} == {str(citation["version"])}
    assert f"## [{version}] - 20" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_galaxy_and_nextflow_use_options_that_exist() -> None:
    galaxy = ElementTree.parse(RECIPES / "galaxy" / "gather_annotate.xml").getroot()
    command = galaxy.findtext("command") or ""
    module = (RECIPES / "nf-core" / "gather" / "annotate" / "main.nf").read_text(encoding="utf-8")
    used = set(re.findall(r"--[a-z-]+", command)) | set(re.findall(r"(?<=\s)--[a-z-]+", module))
    assert len(used) >= 6
    assert used <= annotate_options()


def test_registries_have_the_required_fields() -> None:
    entries = registries()
    assert set(entries) == set(REQUIRED)
    empty = [(name, key) for name, keys in REQUIRED.items() for key in keys if not entries[name].get(key)]
    assert empty == []
    stated = {name: str(entry.get("license", "")) for name, entry in entries.items()}
    assert stated["scverse-meta"] == PROJECT["license"]
    assert stated["biocontext-meta"] == f"https://spdx.org/licenses/{PROJECT['license']}.html"
    assert entries["biocontext-meta"]["identifier"] == HOME.removeprefix("https://github.com/")


def test_addresses_of_registries_are_of_this_repository_and_its_files() -> None:
    found = [text for text in strings(registries()) if text.startswith(HOME)]
    assert len(found) >= 12
    files = [text.split("/main/", 1)[1] for text in found if "/main/" in text]
    assert {"docs", "docs/tutorials", "docs/licences.md"} <= set(files)
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert {text for text in found if "/main/" not in text} == {HOME}


def test_the_register_of_evaluations_names_the_tasks_and_their_module() -> None:
    entry = registries()["inspect-evals-eval"]
    assert [task["name"] for task in entry["tasks"]] == list(TASKS) == list(TASK_MAKERS)
    module = PROJECT["entry-points"]["inspect_ai"]["arena"].replace(".", "/") + ".py"
    assert {task["task_path"] for task in entry["tasks"]} == {module}
    assert (ROOT / module).exists()
    assert entry["source"]["repository_url"] == HOME
    references = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    paper = next(work for work in references if work["title"] == entry["paper_title"])
    assert paper["url"].rpartition("/")[2] == entry["arxiv"].rpartition("/")[2]


def test_the_graph_registry_agrees_with_the_project() -> None:
    entry = registries()["kg-registry"]
    assert (entry["homepage_url"], entry["repository"], entry["version"]) == (HOME, HOME, PROJECT["version"])
    products = {product["id"]: product for product in entry["products"]}
    assert all(name.startswith(f"{entry['id']}.") and product["name"] for name, product in products.items())
    commands = products["vckg.build"]
    assert commands["latest_version"] == PROJECT["version"]
    assert commands["license"]["label"].replace(" License ", "-") == PROJECT["license"]
    for graph in (products["vckg.graph"], products["vckg.graph.kgx"]):
        assert graph["produced_by"] == [commands["id"]]
        assert ("product_url" in graph) != ("download" in graph["warnings"][0])
    export = products["vckg.graph.kgx"]
    assert set(export["node_categories"]) <= {biolink_class(name) for name in CATEGORIES}
    assert set(export["predicates"]) <= {relation.predicate for relation in RELATIONS}
    checked = (ROOT / "docs" / "release.md").read_text(encoding="utf-8")
    assert f"({export['compatibility'][0]['version']})" in checked
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    for work in entry["publications"]:
        same = next(paper for paper in cited if paper.get("doi") == work["doi"])
        authors = [f"{name['given-names']} {name['family-names']}" for name in same["authors"]]
        found = (same["title"], same["collection-title"], str(same["year"]), authors)
        assert found == (work["title"], work["journal"], work["year"], work["authors"])


def test_the_graph_registry_names_the_sources_of_the_graph() -> None:
    """The export names those that may be passed on; the registry's ids are the information resources' own."""
    table = tomllib.loads((ROOT / "data" / "sources.toml").read_text(encoding="utf-8"))
    read = [source for source in table.values() if "full" in source.get("profiles", ())]
    resources = {source["infores"].removeprefix("infores:") for source in read}
    passed_on = {source["infores"].removeprefix("infores:") for source in read if source["redistribute"]}
    products = {product["id"]: product for product in registries()["kg-registry"]["products"]}
    for name, wanted in (("vckg.graph", resources), ("vckg.graph.kgx", passed_on)):
        named = [part["source"] for part in products[name]["original_source"]]
        assert len(named) == len(set(named))
        assert set(named) == wanted | {"vckg"}
    assert passed_on < resources
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    assert [source["title"] for source in read if f"| {source['title']} |" not in page] == []


def test_the_workflow_calls_targets_that_exist() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = [name for run in runs for name in re.findall(r"\bmake ([a-z-]+)", run)]
    assert len(called) == 3
    assert set(called) <= targets
