"""The architecture is a test: arena -> gather -> vckg, serve alone, heavy libraries each in its room."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS: dict[str, set[str]] = {"vckg": set(), "gather": {"vckg"}, "arena": {"vckg", "gather"}, "serve": set()}
ROOMS = {  # library -> the modules that may import it
    "torch": ("serve/",),
    "transformers": ("serve/",),
    "inspect_ai": ("arena/runner/inspect_engine.py", "arena/runner/inspect_tasks.py"),
    "openai": ("gather/llm/client.py",),
    "anndata": ("gather/annotate", "gather/report", "arena/samples"),
    "scanpy": ("gather/annotate", "gather/report", "arena/samples"),
}


@functools.cache
def imports(path: Path) -> frozenset[str]:
    return frozenset(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", LAYERS)
def test_a_package_imports_only_the_layers_below_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert LAYERS.keys() & imports(path) <= LAYERS[package] | {package}, path


@pytest.mark.parametrize("library", ROOMS)
def test_a_heavy_library_is_imported_only_in_its_room(library: str) -> None:
    for package in LAYERS:
        for path in (ROOT / package).rglob("*.py"):
            if library in imports(path):
                assert path.relative_to(ROOT).as_posix().startswith(ROOMS[library]), path
