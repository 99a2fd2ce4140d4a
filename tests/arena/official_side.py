"""SC-Arena's own evaluators on a checkout: run as a program, with the checkout before this package on the path.

`reply_to` and `verdict_of` stand for the contestant and for the judge; both depend on the words that they are shown,
so equal scores mean equal words.
"""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

TASKS = {  # ours -> theirs, and the data file
    "annotation": ("celltype", "cell_sentences_fixed.jsonl"),
    "captioning": ("captioning", "cell_sentences_fixed.jsonl"),
    "generation": ("generation", "cell_sentences_fixed.jsonl"),
    "perturbation": ("perturbation", "test_perturbation.json"),
    "qa": ("scienceqa", "ScientificQA_final.json"),
}
TAGS = {
    "annotation": "Predicted_Cell_Type",
    "captioning": "Captioning",
    "generation": "Cell_Sentence",
    "qa": "Answer",
}


def _draw(text: str, ways: int) -> int:
    return hashlib.sha256(text.encode()).digest()[0] % ways


def reply_to(task: str, prompt: str, truth: str = "") -> str:
    """A contestant's reply: in form, exact, a draft before the answer, brackets, an empty answer, or no form."""
    word = f"w{_draw(prompt, 97)}"
    if task == "perturbation":
        cut = "" if _draw(prompt, 2) else "]"
        return ("", "[Up: A, B]")[_draw(prompt, 2)] + f"[Down: {word}][Cell_Sentence: A {word} B{cut}"
    tag = TAGS[task]
    return (
        f"[{tag}: {word}]",
        f"Perhaps [{tag}: draft {word}]. Finally [{tag}: {word}]",
        f"[{tag}: CD4[+] {word} cell]",
        f"[{tag}:  ]",
        f"{word} without a form",
        f"[{tag}: {truth.upper() or word}]",
    )[_draw(prompt, 6)]


def verdict_of(system: str, prompt: str) -> str:
    """A judge's reply: a score on the scale, two scores, a fraction, or none."""
    score = _draw(f"{system}\n{prompt}", 6)
    forms = (f"Good. [Score: {score}]", f"[Score:{score}] or [Score: 5]", "[Score: 4.5]", "no score")
    return forms[min(_draw(f"{prompt}\n{system}", 8), 3)] if score != 4 else f"`[Score: {score}]`"


def main() -> None:
    """Print the evaluators' accuracies as JSON: ``official_side.py CHECKOUT URL``."""
    checkout, url = Path(sys.argv[1]), sys.argv[2]
    sys.path[:0] = [str(checkout)]
    os.environ["NO_PROXY"] = "*"
    import evaluators  # type: ignore[import-not-found]  # noqa: F401
    import pronto
    from registry import Evaluators  # type: ignore[import-not-found]

    # Their parents come in the order of a set, which changes with every process.
    pronto.TermSet.__iter__ = lambda s: (s._ontology.get_term(i) for i in sorted(s._ids))
    found = {}
    for task, (name, data) in TASKS.items():
        rows = checkout / "data" / data
        with contextlib.redirect_stdout(sys.stderr):
            judge = Evaluators[name](rows, url, "none", "stub", "x")
            prompts = judge.init_data()
            truths = [""] * len(prompts)
            if task == "annotation":
                truths = [json.loads(line)["cell_type"] for line in rows.read_text().splitlines()]
            replies = [reply_to(task, p, t) for p, t in zip(prompts, truths, strict=True)]
            found[task] = {**judge.evaluate(replies), "prompts": sorted(prompts)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
