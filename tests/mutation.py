"""Mutation testing of the modules whose numbers must be right: ``python -m tests.mutation [module ...]``.

One place of a module is changed at a time (a comparison, an operator, a constant, a condition). Its tests run in a
fork of a process that has the libraries loaded. A mutant that no test notices is printed: a test is missing, or the
change has no effect. Compiled loops run as Python, because cached machine code would hide the mutant.

Two maintained tools do less here. mutmut leaves out decorated functions and constants of a module, which hold most
of the formulas (`cached_property`, `compiled`). cosmic-ray starts one Python for each mutant, so that imports take
most of the time.
"""

from __future__ import annotations

import os

os.environ |= {"NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1"}

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TICK = 0.01
"""Seconds between two looks at whether the tests have ended."""
#: Module, and the tests that stand for it.
TARGETS = {
    "gather/retrieval/scores.py": [
        "tests/gather/retrieval/test_score.py",
        "tests/gather/retrieval/test_score_definitions.py",
        "tests/gather/retrieval/test_paths.py",
    ],
    "gather/labelling/decide.py": ["tests/gather/labelling/test_label.py"],
    "serve/goodput.py": ["tests/serve/test_goodput.py", "tests/serve/test_goodput_relatives.py"],
    "serve/spec_decode/tree.py": ["tests/serve/spec_decode/test_dart_tree.py"],
    "serve/forest_attention/plan.py": [
        "tests/serve/forest_attention/test_forest_attention.py",
        "tests/serve/forest_attention/test_forest_plan.py",
    ],
    "arena/judging/rubric.py": [
        "tests/arena/judging/test_judge.py",
        "tests/arena/judging/test_judge_numbers.py",
    ],
    "arena/judging/llm_judge.py": [
        "tests/arena/judging/test_judge.py",
        "tests/arena/judging/test_judge_numbers.py",
    ],
    "arena/judging/meta_eval.py": ["tests/arena/judging/test_judge_check.py"],
}
LOADED_ONCE = (
    "numpy",
    "scipy.sparse",
    "scipy.stats",
    "rustworkx",
    "pandas",
    "pyarrow.parquet",
    "numba",
    "pydantic",
    "hypothesis",
    "pytest",
)
FAST = "not slow and not browser and not network and not soak"
_COMPARE = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


class Mutant(NamedTuple):
    """A module with one change."""

    line: int
    was: str
    now: str
    tree: ast.Module


def mutants(source: str) -> list[Mutant]:
    """Every mutant of a source text, in the order of its places."""
    tree = ast.parse(source)
    silent = _silent(tree)
    places = [node for node in ast.walk(tree) if isinstance(node, ast.expr) and id(node) not in silent]
    found = []
    for place in sorted(places, key=lambda n: (n.lineno, n.col_offset, -(n.end_col_offset or 0))):
        for changed in _changes(place):
            kept = copy.copy(place.__dict__), type(place)
            place.__class__ = type(changed)
            place.__dict__ = ast.copy_location(changed, place).__dict__
            mutated = copy.deepcopy(tree)
            now = ast.unparse(place)
            place.__dict__, place.__class__ = kept[0], kept[1]
            found.append(Mutant(place.lineno, ast.unparse(place), now, mutated))
    return found


def _silent(tree: ast.Module) -> set[int]:
    """Ids of the nodes that say nothing at run time or only words: annotations, decorators, texts."""
    silent: set[int] = set()
    for node in ast.walk(tree):
        hidden: list[ast.AST] = []
        for field in ("annotation", "returns"):
            hidden += [n] if isinstance(n := getattr(node, field, None), ast.AST) else []
        hidden += getattr(node, "decorator_list", [])
        hidden += [node] if isinstance(node, (ast.JoinedStr, ast.Raise)) else []
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.BinOp, ast.Subscript)):
            names = [t.id for t in node.targets if isinstance(t, ast.Name)]
            hidden += (
                [node] if names and names[0][0].isupper() and not names[0].isupper() else []
            )  # a type alias
        silent |= {id(n) for h in hidden for n in ast.walk(h)}
    return silent


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARE:
            yield ast.Compare(node.left, [_COMPARE[type(op)]()], node.comparators)
        case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
            yield ast.BinOp(node.left, _ARITHMETIC[type(op)](), node.right)
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield ast.BoolOp(other, node.values)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)


class _Replaced(importlib.abc.MetaPathFinder):
    """Finds one module and gives it other code."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name, self._code = name, code

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == self._name else None
        if spec is not None:
            spec.loader = _Coded(name, str(spec.origin), self._code)
        return spec


class _Coded(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


def survives(path: str, tree: ast.Module, tests: Sequence[str], limit: float) -> bool:
    """Whether all tests pass with this code in the module's place; a test that hangs has noticed."""
    code = compile(ast.fix_missing_locations(tree), str(ROOT / path), "exec")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _tested(path.removesuffix(".py").replace("/", "."), code, tests)
        finally:
            os._exit(status)
    # Not by the clock: a run that was stopped and resumed has not hung.
    for _tick in range(round(limit / TICK)):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(TICK)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _tested(name: str, code: CodeType, tests: Sequence[str]) -> int:
    import pytest

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.meta_path.insert(0, _Replaced(name, code))
    options = [
        "-x",
        "-q",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    return int(pytest.main([*options, "-m", FAST, *tests]))


def run(path: str, sample: int, seed: int) -> tuple[int, int, list[Mutant]]:
    """How many mutants a module has, how many of them were tried, and those that survived."""
    source = (ROOT / path).read_text(encoding="utf-8")
    every = mutants(source)
    chosen = random.Random(seed).sample(range(len(every)), min(sample, len(every)))
    started = time.monotonic()
    if not survives(path, ast.parse(source), TARGETS[path], 600):
        sys.exit(f"{path}: its tests fail as it stands")
    limit = 10 * (time.monotonic() - started) + 10
    alive = [every[i] for i in sorted(chosen) if survives(path, every[i].tree, TARGETS[path], limit)]
    return len(every), len(chosen), alive


def main() -> None:
    """Print the table and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TARGETS))
    parser.add_argument("--sample", type=int, default=60, help="mutants tried of each module")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    for library in LOADED_ONCE:
        import_module(library)
    rows, survivors = [], []
    for path in arguments.modules:
        total, tried, alive = run(path, arguments.sample, arguments.seed)
        rows.append(f"| {path} | {total} | {tried} | {tried - len(alive)} | {len(alive)} |")
        survivors += [f"- `{path}:{m.line}`: `{m.was}` became `{m.now}`" for m in alive]
        sys.stderr.write("\n".join([rows[-1], *survivors[len(survivors) - len(alive) :], ""]))
    print("| module | mutants | tried | noticed | survived |\n|---|---|---|---|---|")  # noqa: T201
    print(*rows, "", *survivors, sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
