"""The tables of ``gather benchmark suite``, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gather.benchmark.suite import BEST, CELLS, METRICS, MODES, OURS, Unit, by_group, over_groups, select
from gather.benchmark.suite_peers import PEERS
from gather.metrics.labels import Interval, expected_calibration_error, paired_permutation
from gather.metrics.multiple_testing import holm

OTHERS = ("published score", *PEERS)
COMPARED = ("label groups", "clusters", "profiles")
TESTED_MODES = (*COMPARED, CELLS)
TESTED = METRICS[:3]
STATUSES = ("named", "backed_off", "unknown")
ANSWERED = STATUSES[:2]


def tables(units: Sequence[Unit]) -> Iterator[str]:
    """Yield all tables of one graph."""
    for species in ("human", "mouse"):
        for closed in (False, True):
            yield f"## {species.capitalize()}, {'closed' if closed else 'open'} set"
            yield ""
            yield from _accuracy(units, species, closed)
            yield ""
    yield "## Fewer genes or cells: what stays of the answers of the full file, open set"
    yield ""
    yield from kept(units)
    yield ""
    yield "## Paired differences, human: our best candidate minus the other method's"
    yield ""
    yield from _comparison(units)
    yield ""
    yield "## Relation within two steps and at any distance, open set"
    yield ""
    yield from distances(units)
    yield ""
    yield "## Each study, open set, our best candidate"
    yield ""
    yield from _each_study(units)


def _accuracy(units: Sequence[Unit], species: str, closed: bool) -> Iterator[str]:
    head = f"| mode | method | groups | sets | {' | '.join(METRICS)} | ECE | named / backed off / unknown |"
    yield head
    yield "|---|---|--:|--:|" + "---|" * (len(METRICS) + 2)
    for mode in MODES:
        for method in (OURS, BEST, *OTHERS):
            mine = select(units, method=method, mode=mode, closed=closed, species=species)
            if not mine:
                continue
            groups = by_group(mine)
            found = over_groups(np.array(list(groups.values())))
            cells = " | ".join(map(_interval, found))
            yield f"| {mode} | {method} | {len(groups)} | {len(mine)} | {cells} | {_sureness(mine, method)} |"


def _interval(found: Interval) -> str:
    return "-" if np.isnan(found.value) else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _sureness(units: Sequence[Unit], method: str) -> str:
    """Calibration error of the answers against relation, and how often each status came; of ours alone."""
    if method not in (OURS, BEST):
        return "- | -"
    answered = [u for u in units if u.status in (*ANSWERED, "")]
    related = [u.values[METRICS.index("relation")] for u in answered]
    error = (
        expected_calibration_error([u.confidence for u in answered], related) if answered else float("nan")
    )
    if not any(u.status for u in units):
        return f"{error:.2f} | -"
    shares = " / ".join(f"{np.mean([u.status == s for u in units]):.2f}" for s in STATUSES)
    return f"{error:.2f} | {shares}"


def kept(units: Sequence[Unit]) -> Iterator[str]:
    """Of the sets that the full file answers, those that a cut one answers; and the same of right answers."""
    yield "| species | mode | sets | the full file answers | of these the cut one | right, and still right |"
    yield "|---|---|--:|--:|--:|--:|"
    k = METRICS.index("relation")
    for species in ("human", "mouse"):
        whole = {(u.study, u.name): u for u in select(units, method=OURS, mode=COMPARED[0], species=species)}
        for mode in ("panel 300", "panel 1000", "50 cells"):
            cut = select(units, method=OURS, mode=mode, species=species)
            pairs = [(whole[u.study, u.name], u) for u in cut if (u.study, u.name) in whole]
            answered = [(a.status in ANSWERED, b.status in ANSWERED) for a, b in pairs]
            right = [(a.values[k] > 0, b.values[k] > 0) for a, b in pairs]
            if pairs:
                shown = " | ".join(_share(x) for x in (answered, right))
                yield f"| {species} | {mode} | {len(pairs)} | {sum(a for a, _ in answered)} | {shown} |"


def distances(units: Sequence[Unit]) -> Iterator[str]:
    """Relation as the other tables count it, and counted at any distance above or below the truth."""
    yield "| species | mode | method | within two steps | at any distance |"
    yield "|---|---|---|---|---|"
    k = METRICS.index("relation")
    for species in ("human", "mouse"):
        for mode in COMPARED:
            for method in (OURS, BEST, *OTHERS):
                mine = select(units, method=method, mode=mode, species=species)
                if mine:
                    both = by_group([replace(u, values=(u.values[k], u.on_line)) for u in mine])
                    cells = " | ".join(map(_interval, over_groups(np.array(list(both.values())))))
                    yield f"| {species} | {mode} | {method} | {cells} |"


def _share(pairs: Sequence[tuple[bool, bool]]) -> str:
    first = sum(a for a, _ in pairs)
    both = sum(a and b for a, b in pairs)
    return f"{both} of {first} ({both / first:.0%})" if first else "-"


def _comparison(units: Sequence[Unit]) -> Iterator[str]:
    rows, p_values = [], []
    for closed in (False, True):
        for mode in TESTED_MODES:
            ours = select(units, method=BEST, mode=mode, closed=closed)
            for other in OTHERS:
                theirs = select(units, method=other, mode=mode, closed=closed)
                if not theirs:
                    continue
                for metric in TESTED[:1] if closed else TESTED:
                    k = METRICS.index(metric)
                    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if not np.isnan(a.values[k])]
                    first, second = ([u.values[k] for u in side] for side in zip(*pairs, strict=True))
                    strata = [a.group for a, _ in pairs]
                    p_values.append(paired_permutation(first, second, strata=strata, replicates=2000))
                    mine, others = by_group([a for a, _ in pairs]), by_group([b for _, b in pairs])
                    delta = np.array([[mine[g][k] - others[g][k]] for g in mine])
                    rows.append((mode, "closed" if closed else "open", other, metric, over_groups(delta)[0]))
    yield "Intervals: bootstrap over study groups. p: sign flips over cell sets within study groups, adjusted by Holm"
    yield f"over the {len(rows)} tests of this table."
    yield ""
    yield "| mode | set | minus | metric | difference | adjusted p |"
    yield "|---|---|---|---|---|--:|"
    for (mode, kind, other, metric, delta_of), p in zip(rows, holm(p_values), strict=True):
        change = f"{delta_of.value:+.2f} [{delta_of.low:+.2f}, {delta_of.high:+.2f}]"
        yield f"| {mode} | {kind} | {other} | {metric} | {change} | {p:.2g} |"


def _each_study(units: Sequence[Unit]) -> Iterator[str]:
    yield f"| species | mode | study | sets | {' | '.join(METRICS)} |"
    yield "|---|---|---|--:|" + "--:|" * len(METRICS)
    for species in ("human", "mouse"):
        for mode in TESTED_MODES:
            mine = select(units, method=BEST, mode=mode, species=species)
            for study in dict.fromkeys(u.study for u in mine):
                part = [u for u in mine if u.study == study]
                (values,) = by_group(part).values()
                cells = " | ".join("-" if np.isnan(v) else f"{v:.2f}" for v in values)
                yield f"| {species} | {mode} | {study} | {len(part)} | {cells} |"
