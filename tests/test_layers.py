"""The architecture is a test: arena -> gather -> vckg, serve alone, no ring, heavy libraries each in its room."""

import ast
import functools

import pytest

from tests.layers import PACKAGES, ROOT, file_arrows, imported, modules, rings, room_arrows

LAYERS: dict[str, set[str]] = {"vckg": set(), "gather": {"vckg"}, "arena": {"vckg", "gather"}, "serve": set()}
ROOMS = {  # library -> the rooms that may import it
    "torch": ("serve.",),
    "transformers": ("serve.",),
    "inspect_ai": ("arena.runner.inspect_", "arena.contestants.resolve"),
    "openai": ("gather.llm.",),
    "anndata": (
        "gather.checking.",
        "gather.cells.",
        "gather.inputs.",
        "gather.report.",
        "gather.pl",
        "gather.results",
        "arena.datasets.",
    ),
    "scanpy": ("gather.cells.", "gather.inputs.", "gather.report.", "gather.pl", "arena.datasets."),
}
MOST_LINES, MOST_STATEMENT_LINES = 400, 60
SOURCES = functools.cache(modules)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_layers_below_it(package: str) -> None:
    for name, text in SOURCES(package).items():
        roots = {target.split(".")[0] for target in imported(text)}
        assert LAYERS.keys() & roots <= LAYERS[package] | {package}, name


@pytest.mark.parametrize("library", ROOMS)
def test_a_heavy_library_is_imported_only_in_its_room(library: str) -> None:
    for package in PACKAGES:
        for name, text in SOURCES(package).items():
            if library in {target.split(".")[0] for target in imported(text)}:
                assert name.startswith(ROOMS[library]), name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_ring_of_files_and_no_ring_of_rooms(package: str) -> None:
    files = file_arrows(SOURCES(package))
    assert rings(files) == []
    assert rings(room_arrows(files)) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_files_and_functions_stay_short(package: str) -> None:
    for name, text in SOURCES(package).items():
        assert text.count("\n") <= MOST_LINES, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert _code_lines(node) <= MOST_STATEMENT_LINES, f"{name}.{node.name}"


def test_benchmarks_stay_outside_the_packages() -> None:
    for package in PACKAGES:
        for name, text in SOURCES(package).items():
            assert "benchmarks" not in {target.split(".")[0] for target in imported(text)}, name
    assert (ROOT / "benchmarks").is_dir()


def test_a_ring_is_found() -> None:
    sources = {"p.a": "import p.b", "p.b": "from p import c", "p.c": "from p.a import x", "p.d": "import p.a"}
    assert rings(file_arrows(sources)) == [["p.a", "p.b", "p.c"]]


def test_a_room_is_a_folder() -> None:
    sources = {
        "p.a.one": "import p.b.two",
        "p.b": "",
        "p.b.two": "from p.a.one import x",
        "p.c": "import p.b.two",
    }
    assert room_arrows(file_arrows(sources)) == {"p.a": {"p.b"}, "p.b": {"p.a"}, "p.c": {"p.b"}}


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring and without its signature."""
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
