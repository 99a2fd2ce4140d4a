"""Validate a KGX export with the kgx package itself; run by a Python that has it, without the network.

Prints one JSON object: what kgx's validator reports, and what the Biolink Model's own pydantic classes refuse.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import biolink_model
from biolink_model.datamodel import pydanticmodel_v2 as biolink
from bmt import Toolkit
from pydantic import ValidationError

MODEL = Path(next(iter(biolink_model.__path__)))
# kgx makes a toolkit while it is imported, which would download the model: the installed one is its default now.
Toolkit.__init__.__defaults__ = (str(MODEL / "schema" / "biolink_model.yaml"), {"predicate mappings": []})

import kgx.config  # noqa: E402
from kgx.transformer import Transformer  # noqa: E402
from kgx.validator import Validator  # noqa: E402

OURS = ("sign", "weight", "specificity", "source_name")
"""Columns that KGX admits beside biolink's."""


def errors_of_kgx(folder, form, own_prefixes):
    """What `kgx validate` reports: {level: {kind: {message: first few records}}}."""
    prefixes = json.loads((MODEL / "prefixmaps" / "biolink-model-prefix-map.json").read_text())
    kgx.config.get_config()
    kgx.config.jsonld_context_map["biolink"] = prefixes | own_prefixes
    validator = Validator()
    seen = Counter()

    def inspect(kind, record):
        seen[kind.name] += 1
        validator(kind, record)

    files = [str(folder / f"{name}.{form}") for name in ("nodes", "edges")]
    transformer = Transformer(stream=True)
    transformer.transform({"filename": files, "format": form}, {"format": "null"}, inspector=inspect)
    found = validator.get_errors()
    told = {
        level: {
            kind: {m: sorted(map(str, r))[:3] for m, r in messages.items()}
            for kind, messages in kinds.items()
        }
        for level, kinds in found.items()
        if kinds
    }
    return {"seen": dict(seen), "told": told}


def refused_by_the_model(folder):
    """Fields that the model's classes refuse: enums, required fields, types, words the model does not have."""
    toolkit, words = Toolkit(), Counter()
    for name in ("nodes", "edges"):
        for line in (folder / f"{name}.jsonl").read_text().splitlines():
            said = {k: v for k, v in json.loads(line).items() if k not in OURS}
            kind = getattr(biolink, said["category"][0].removeprefix("biolink:"))
            # A qualifier is a slot of the model that only narrower classes than Association list.
            for field in said.keys() - kind.model_fields.keys():
                if field.endswith("_qualifier") and toolkit.get_element(field) is not None:
                    del said[field]
            try:
                kind(**said)
            except ValidationError as error:
                words.update(
                    f"{kind.__name__}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()
                )
    return dict(words)


def main():
    folder = Path(sys.argv[1])
    found = {}
    for part, form in (("kgx", "tsv"), ("kgx-jsonl", "jsonl")):
        prefixes = json.loads((folder / part / "prefixes.json").read_text())
        found[form] = errors_of_kgx(folder / part, form, prefixes)
    found["refused"] = refused_by_the_model(folder / "kgx-jsonl")
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
