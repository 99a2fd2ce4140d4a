"""SC-Arena's own words and scores, read at run time from a checkout of its repository.

Prompts come from ``prompts/*.jsonl``. The words for judges are taken out of the evaluators' source, which is read and
never run: the literals of an assignment are filled with values that are computed here by the same rules. Nothing of
the checkout is part of this package.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from arena.types import OFFICIAL, Sample, TaskName
from vckg.base.errors import InputError

FILES: Final[Mapping[TaskName, tuple[str, str]]] = {
    "annotation": ("cell_type_annotation.jsonl", "cell_type_annotation.py"),
    "captioning": ("captioning.jsonl", "captioning.py"),
    "generation": ("generation.jsonl", "generation.py"),
    "perturbation": ("perturbation_prompt.jsonl", "perturbation_prediction.py"),
    "qa": ("scienceqa.jsonl", "scienceqa.py"),
}
"""Prompt file and evaluator by task."""
UNNAMED: Final = "Unknown"
NEAREST: Final = 5
"""Terms of a path that a judge of captions sees, counted from the type."""


class Term(NamedTuple):
    """A term of the checkout's Cell Ontology."""

    id: str
    name: str
    definition: str
    parents: tuple[str, ...]


class Asked(NamedTuple):
    """What a judge is asked."""

    system: str
    prompt: str


class Official:
    """A checkout of SC-Arena."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sources: dict[TaskName, _Source] = {}

    def path(self, *parts: str) -> Path:
        """Return a file of the checkout.

        Raises
        ------
        InputError
            It is missing.
        """
        path = self.folder.joinpath(*parts)
        if not path.is_file():
            raise InputError(
                f"{path}: missing; --official wants a whole checkout of SC-Arena, large files included"
            )
        return path

    def digest(self, task: TaskName) -> str:
        """Return eight hex digits of the files that hold a task's words."""
        files = (self.path("prompts", FILES[task][0]), self.path("evaluators", FILES[task][1]))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]

    # ---- what a contestant is asked ------------------------------------------------------------------------

    def asking(self, samples: Mapping[TaskName, list[Sample]]) -> dict[TaskName, list[Sample]]:
        """Return samples of the untouched data with SC-Arena's prompts."""
        return {
            task: [replace(s, variables={**s.variables, OFFICIAL: self.prompt(s)}) for s in listed]
            for task, listed in samples.items()
            if task in FILES
        }

    def prompt(self, sample: Sample) -> str:
        """Return the prompt of a sample of the untouched data."""
        lines = self.path("prompts", FILES[sample.task][0]).read_text(encoding="utf-8").splitlines()
        return str(json.loads(lines[0])["prompt"]).format(**self._shown(sample))

    def _shown(self, sample: Sample) -> dict[str, str]:
        fields, variables = sample.fields, sample.variables
        if sample.task == "qa":
            return {"question_type": fields["kind"], "question": fields["question"]}
        if sample.task == "generation":
            return {"cell_type": fields["cell_type"], "cell_description": self._term(sample).definition}
        shown = {"cell_sentence": variables["sentence"], "num_genes": variables["n_genes"]}
        if sample.task == "perturbation":
            told = self._perturbation(sample)
            return shown | {
                "perturbation_description": told,
                "candidate_deg_list": variables["candidates"],
            }
        return shown | {"organism": fields["tissue"]}

    # ---- what a judge is asked -----------------------------------------------------------------------------

    def asked(self, sample: Sample, reply: str) -> Asked | None:
        """Return what a judge of a reply is asked; None where the reply names the type exactly: full marks."""
        fill: Callable[[Sample, str], dict[str, str]] = getattr(self, f"_{sample.task}")
        values = fill(sample, reply)
        if sample.task == "annotation":
            named, truth = values["predicted_cell_type"], values["true_cell_type"]
            if named.lower() == truth.lower():
                return None
        source = self._source(sample.task)
        return Asked(source.system, source.fill(source.assigned["message_template"][-1], values))

    def _annotation(self, sample: Sample, reply: str) -> dict[str, str]:
        return {
            "true_cell_type": sample.gold["cell_type"],
            "cell_path_chain": self._paths(sample),
            "predicted_cell_type": first_tagged(reply, "Predicted_Cell_Type", UNNAMED),
        }

    def _captioning(self, sample: Sample, reply: str) -> dict[str, str]:
        return {
            "cell_sentence": sample.variables["sentence"],
            "cell_path_chain": self._paths(sample),
            "predicted_caption": first_tagged(reply, "Captioning", reply),
        }

    def _generation(self, sample: Sample, reply: str) -> dict[str, str]:
        source, term = self._source("generation"), self._term(sample)
        table = self._table("cell_marker.txt", sep="\t")
        markers = table[table["Specific_Cell_Ontology_ID"] == term.id]["Cell_Marker"].tolist()
        (one_cell,) = source.literals("sentence_str")
        sentences = [" ".join(genes) for genes in sample.gold["sentences"]]
        return {
            "celltype": term.name,
            "caption": term.definition,
            "cell_markers": ",".join(markers) or source.text("cell_markers"),
            "predicted_cell": first_tagged(reply, "Cell_Sentence", reply),
            "sentence_str": ", ".join(
                source.fill(one_cell, {"i + 1": str(n), "s": genes}) for n, genes in enumerate(sentences, 1)
            ),
        }

    def _perturbation(self, sample: Sample, reply: str | None = None) -> Any:
        """Return how the perturbation is told, or with a reply the values of a judge's prompt."""
        source, genes = self._source("perturbation"), list(map(str, sample.fields["perturbed"]))
        single, double = source.literals("perturbation_description")[:2]
        told = (
            source.fill(single, {"target_gene": genes[0]})
            if len(genes) == 1
            else source.fill(double, {"joined_genes": " and ".join(genes)})
        )
        if reply is None:
            return told
        closed = reply + "]"
        values = {
            "ctrl_sentence": " ".join(sample.fields["control"]),
            "perturbation_description": told,
            "pert_sentence": " ".join(sample.gold["sentence"]),
            "up_genes_str": ", ".join(sample.gold["up"]),
            "down_genes_str": ", ".join(sample.gold["down"]),
            "cell_sentence": first_tagged(closed, "Cell_Sentence", UNNAMED),
            "up_genes": first_tagged(closed, "Up", UNNAMED),
            "down_genes": first_tagged(closed, "Down", UNNAMED),
            "NCBI_gene_card_UniProt_summaries": "".join(self._summaries(source, gene) for gene in genes),
        }
        for side in "CPF":
            name = f"GO_{side}_description"
            values[name] = "".join(self._ontology_lines(source, name, side, gene) for gene in genes)
        return values

    def _summaries(self, source: _Source, gene: str) -> str:
        card, both = source.text("ncbi_summary"), source.text("combined_summary")
        values = {
            "gene": gene,
            "ncbi_summary": self._summary_table("NCBI_summary_of_genes.json").get(gene, card),
            "combined_summary": self._summary_table("NCBI_UniProt_summary_of_genes.json").get(gene, both),
        }
        return "".join(source.fill(t, values) for t in source.literals("NCBI_gene_card_UniProt_summaries"))

    def _ontology_lines(self, source: _Source, name: str, side: str, gene: str) -> str:
        table = self._table(f"gene_ontology_{side}.csv")
        labels = table[table["gene"] == gene]["direct_class_label"].dropna().unique()
        (head,) = source.literals(name)
        said = ", ".join(labels) + "\n" if len(labels) else source.text(name)
        return source.fill(head, {"gene": gene}) + said

    def _qa(self, sample: Sample, reply: str) -> dict[str, str]:
        fields = sample.fields
        return {
            "question['type']": fields["kind"],
            "question['question']": fields["question"],
            "question['answer']": sample.gold["answer"],
            "question['relevant_passage']": fields["passage"],
            "paper_title": fields["title"],
            "paper_abstract": fields["abstract"],
            "model_answer": first_tagged(reply, "Answer", reply),
        }

    # ---- knowledge of the checkout -------------------------------------------------------------------------

    def _source(self, task: TaskName) -> _Source:
        if task not in self._sources:
            self._sources[task] = _Source(self.path("evaluators", FILES[task][1]))
        return self._sources[task]

    def _table(self, name: str, sep: str = ",") -> Any:
        if name not in self._tables:
            import pandas as pd

            self._tables[name] = pd.read_csv(self.path("evaluators", name), sep=sep)
        return self._tables[name]

    def _summary_table(self, name: str) -> Mapping[str, str]:
        if name not in self._tables:
            self._tables[name] = json.loads(self.path("evaluators", name).read_bytes())
        return self._tables[name]  # type: ignore[no-any-return]

    @cached_property
    def _tables(self) -> dict[str, Any]:
        return {}

    @cached_property
    def _terms(self) -> dict[str, Term]:
        from vckg.readers.obo import read_terms

        rows = read_terms(self.path("evaluators", "cl_nl6.obo"))
        return {i: Term(i, name, text or "None", above) for i, name, text, above in rows}

    @cached_property
    def _named(self) -> dict[str, list[Term]]:
        named = defaultdict(list)
        for term in sorted(self._terms.values()):
            named[term.name].append(term)
        return named

    def _term(self, sample: Sample) -> Term:
        name = str(sample.gold["cell_type"])
        if name not in self._named:
            raise InputError(f"{self.folder}: its Cell Ontology has no term {name!r} ({sample.id})")
        return self._named[name][0]

    def _paths(self, sample: Sample) -> str:
        """Return the ways from the root to the type, indented; for captions the nearest terms with definitions."""
        name, source = str(sample.gold["cell_type"]), self._source(sample.task)
        nothing, head, title, line = source.strings_of("get_cell_paths_str")
        if name not in self._named:
            return source.fill(nothing, {"cell_name": name})
        text = ""
        for number, term in enumerate(self._named[name], start=1):
            text += source.fill(head, {"term_idx": str(number), **_values("term", term)})
            ways = list(self._ways(term.id))
            if sample.task == "captioning":
                ways = list(dict.fromkeys(way[:NEAREST] for way in ways))
            for count, way in enumerate(ways, start=1):
                text += source.fill(title, {"i": str(count)})
                for depth, node in enumerate(reversed(way)):
                    values = _values("node", self._terms[node])
                    text += source.fill(line, {"indent": "  " * depth, **values})
        return text

    def _ways(self, start: str) -> Iterator[tuple[str, ...]]:
        """Yield the ways from a term to the roots, the shortest first, parents by id."""
        waiting: deque[tuple[str, ...]] = deque([(start,)])
        while waiting:
            way = waiting.popleft()
            parents = sorted(p for p in self._terms[way[-1]].parents if p.startswith("CL:"))
            if not parents:
                yield way
            waiting.extend((*way, parent) for parent in parents)


def official_score(reply: str) -> float:
    """Return a judge's score as SC-Arena counts it: the first whole number, times 0.2; 0 where there is none.

    A number above 5 counts as 5, the one thing that is not as there: ``[Score: 9]`` would be more than full marks.
    """
    found = re.search(r"\[Score:\s*(\d+)\]", reply)
    return 0.2 * min(int(found[1]), 5) if found else 0.0


def first_tagged(text: str, tag: str, otherwise: str) -> str:
    """Return the content of the first ``[tag: ...]``, up to its first closing bracket."""
    found = re.search(rf"\[{tag}:\s*([^\]]+?)\]", text)
    return found[1].strip() if found else otherwise


def _values(name: str, term: Term) -> dict[str, str]:
    return {f"{name}.{key}": value for key, value in term._asdict().items() if key != "parents"}


class _Source:
    """Literals of a Python file, which is parsed and not run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tree = ast.parse(path.read_text(encoding="utf-8"))
        self.assigned: dict[str, list[ast.expr]] = defaultdict(list)
        for node in _in_order(self._tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.assigned[node.targets[0].id].append(node.value)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                self.assigned[node.target.id].append(node.value)

    @cached_property
    def system(self) -> str:
        """The system prompt of the judge's call."""
        for node in _in_order(self._tree):
            if isinstance(node, ast.Dict) and ast.unparse(node.values[0]) == "'system'":
                return str(ast.literal_eval(node.values[1]))
        raise self._changed("no system message")

    def literals(self, name: str) -> list[ast.expr]:
        """Return the strings with places that are assigned or added to a name, in their order."""
        values = self.assigned[name]
        return [n for value in values for n in _in_order(value) if isinstance(n, ast.JoinedStr)]

    def text(self, name: str) -> str:
        """Return the longest plain string of what is assigned to a name: used where nothing is known."""
        texts = [
            n.value
            for value in self.assigned[name]
            if not isinstance(value, ast.JoinedStr)
            for n in _in_order(value)
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and " " in n.value
        ]
        if not texts:
            raise self._changed(f"no words for {name}")
        return max(texts, key=len)

    def strings_of(self, function: str) -> list[ast.expr]:
        """Return the strings with places of a function, in their order."""
        for node in _in_order(self._tree):
            if isinstance(node, ast.FunctionDef) and node.name == function:
                found: list[ast.expr] = [n for n in _in_order(node) if isinstance(n, ast.JoinedStr)]
                if len(found) == 4:
                    return found
        raise self._changed(f"no function {function} with four strings")

    def fill(self, template: ast.expr, values: Mapping[str, str]) -> str:
        """Return a string with its places filled by the expressions that stand there."""
        try:
            if isinstance(template, ast.Constant):  # filled with % where it is sent
                places = next(
                    n.right
                    for n in _in_order(self._tree)
                    if isinstance(n, ast.BinOp)
                    and isinstance(n.right, ast.Tuple)
                    and isinstance(n.op, ast.Mod)
                )
                return str(template.value) % tuple(values[ast.unparse(e)] for e in places.elts)
            parts = template.values if isinstance(template, ast.JoinedStr) else []
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else values[_place(part)] for part in parts
            )
        except (KeyError, StopIteration) as error:
            raise self._changed(f"unknown place {error}") from None

    def _changed(self, what: str) -> InputError:
        return InputError(f"{self.path}: {what}; this reads SC-Arena as of commit f4480a2")


def _place(part: ast.expr) -> str:
    return ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ""


def _in_order(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a tree as they stand in the file."""
    return sorted(ast.walk(tree), key=lambda n: (getattr(n, "lineno", 0), getattr(n, "col_offset", 0)))
