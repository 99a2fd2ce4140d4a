"""Where marks stand in the report's figures; the templates draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from arena.leaderboard.schema import Estimate


class Bar(NamedTuple):
    """An interval on the axis from 0 to 1, in percent of the width."""

    low: float
    high: float
    value: float
    line: float | None
    """Where the best answer that ignores the cell stands; None where none was run."""


def along(value: float) -> float:
    """Place of a score on the axis, in percent of its width."""
    return round(100 * min(1.0, max(0.0, value)), 2)


def bar(estimate: Estimate | None, floor: float | None = None) -> Bar | None:
    """Marks of one estimate; None where it has no value."""
    if estimate is None or estimate.value is None:
        return None
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return Bar(along(low), along(high), along(estimate.value), None if floor is None else along(floor))


class Point(NamedTuple):
    """One mark of a scatter."""

    name: str
    x: float
    y: float
    kind: str
    frontier: bool
    x_value: float
    y_value: float
    label: str
    """Shown next to the mark; empty where it would collide with another."""
    anchor: str


class Tick(NamedTuple):
    """A mark of an axis."""

    at: float
    text: str


class Scatter(NamedTuple):
    """Points in a frame of WIDTH x HEIGHT with margins."""

    points: list[Point]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    x_label: str
    y_label: str
    line: str
    """SVG path of the frontier or the diagonal."""


WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 16, 52
LABEL_HEIGHT, LETTER_WIDTH, LONGEST_LABEL = 15, 7.4, 30


def scatter(
    points: Sequence[tuple[str, float, float, str, bool]],
    *,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
) -> Scatter:
    """Place (name, x, y, kind, marked) in the frame.

    Without `diagonal` the x axis is logarithmic, a line joins the marked points, and all points that have
    room are labelled. With it both axes are linear and have one range, the line is y = x, and only marked points
    are labelled.
    """
    log = not diagonal
    if log:
        x_ticks, y_ticks = _log_ticks([p[1] for p in points]), _ticks([p[2] for p in points])
    else:
        x_ticks = y_ticks = _ticks([value for p in points for value in p[1:3]])

    def place(value: float, ends: tuple[float, float], low: float, high: float) -> float:
        a, b, v = (math.log10(e) if log and low < high else e for e in (*ends, value))
        return round(low + (high - low) * (v - a) / (b - a), 1)

    x_ends, y_ends = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])
    frame_x, frame_y = (LEFT, WIDTH - RIGHT), (HEIGHT - BOTTOM, TOP)
    placed = [
        Point(
            name, place(x, x_ends, *frame_x), place(y, y_ends, *frame_y), kind, frontier, x, y, name, "start"
        )
        for name, x, y, kind, frontier in points
    ]
    placed = _labelled(placed, only_marked=diagonal)
    corners = [(p.x, p.y) for p in sorted((p for p in placed if p.frontier), key=lambda p: (p.x, -p.y))]
    if diagonal:
        corners = [(place(v, x_ends, *frame_x), place(v, y_ends, *frame_y)) for v in x_ends]
    return Scatter(
        placed,
        [Tick(place(t, x_ends, *frame_x), f"{t:g}".replace("-", "−")) for t in x_ticks],
        [Tick(place(t, y_ends, *frame_y), f"{t:g}".replace("-", "−")) for t in y_ticks],
        x_label,
        y_label,
        "M" + " L".join(f"{x} {y}" for x, y in corners) if len(corners) > 1 else "",
    )


def _labelled(points: Sequence[Point], *, only_marked: bool) -> list[Point]:
    """Give labels to as many points as have room, marked ones first."""
    occupied: list[tuple[float, float, float, float]] = [(p.x - 6, p.y - 6, p.x + 6, p.y + 6) for p in points]
    labels: dict[int, tuple[str, str]] = {}
    order = sorted(
        range(len(points)), key=lambda i: (not points[i].frontier, -points[i].y_value, points[i].name)
    )
    for i in order:
        point = points[i]
        if only_marked and not point.frontier:
            continue
        text = point.name if len(point.name) <= LONGEST_LABEL else point.name[: LONGEST_LABEL - 1] + "…"
        width = LETTER_WIDTH * len(text)
        for anchor, left in (("start", point.x + 9), ("end", point.x - 9 - width)):
            box = (left, point.y - LABEL_HEIGHT / 2, left + width, point.y + LABEL_HEIGHT / 2)
            inside = box[0] >= LEFT and box[2] <= WIDTH - 2
            if inside and not any(_overlap(box, other) for j, other in enumerate(occupied) if j != i):
                labels[i] = (text, anchor)
                occupied.append(box)
                break
    return [
        p._replace(label=labels[i][0], anchor=labels[i][1]) if i in labels else p._replace(label="")
        for i, p in enumerate(points)
    ]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers that enclose the values, about six of them."""
    low, high = min([*values, 0.0]), max([*values, 1.0])
    raw = (high - low) / 5
    unit = 10 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * step, 9) for i in range(first, last + 1)]


def _log_ticks(values: Sequence[float]) -> list[float]:
    """Powers of ten (with 2 and 5 between where there are few) that enclose positive values."""
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    last = max(last, first + 1)
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [s * 10.0**e for e in range(first, last) for s in steps] + [10.0**last]
    below = [t for t in ticks if t <= min(values)]
    above = [t for t in ticks if t >= max(values)]
    return [t for t in ticks if below[-1] <= t <= above[0]] if below[-1] < above[0] else ticks
