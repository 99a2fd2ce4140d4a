"""Picture of `benchmarks.mixed_day`: interactive latency above, batch work below, over the same seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serve.goodput import ReadingSlo, Timeline

WIDTH, LEFT, RIGHT = 860, 60, 20
TOP, ROWS, GAP, BELOW = 46, 190, 62, 150
BLUE, RED, GREEN, GREY = "#1f5fa8", "#c0392b", "#2e7d4f", "#667085"


def draw(
    lines: Sequence[Timeline], at_s: Sequence[float], counters: Sequence[Mapping[str, float]], slo: ReadingSlo
) -> str:
    """An SVG: one line a reader, from request to last token, red where a token was late; batch tokens a second."""
    end = max([*at_s, *(t.ended_s for t in lines), 1.0])
    height = TOP + ROWS + GAP + BELOW + 44
    body = [
        _text(
            LEFT,
            22,
            "Readers: from request to last token; a token in time is blue, a late one red",
            anchor="start",
        ),
        _text(
            LEFT,
            TOP + ROWS + GAP - 14,
            "Batch work: prompt tokens computed and answer tokens a second",
            anchor="start",
        ),
        *_readers(lines, end, slo),
        *_batch(lines, at_s, counters, end),
        *_axis(end, TOP + ROWS),
        *_axis(end, TOP + ROWS + GAP + BELOW),
        _text(WIDTH / 2, height - 8, "seconds"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">\n<title>Readers and batch work on one server</title>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _x(at_s: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at_s / end


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#1d2939">{words}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _axis(end: float, y: float) -> list[str]:
    step = next(s for s in (10, 30, 60, 120, 300, 600, 3600) if end / s <= 10 or s == 3600)
    marks = [_line(LEFT, y, WIDTH - RIGHT, y, GREY)]
    for second in range(0, int(end) + 1, step):
        marks += [
            _line(_x(second, end), y, _x(second, end), y + 4, GREY),
            _text(_x(second, end), y + 17, str(second)),
        ]
    return marks


def _readers(lines: Sequence[Timeline], end: float, slo: ReadingSlo) -> list[str]:
    marks = []
    step = ROWS / max(len(lines), 1)
    for i, line in enumerate(sorted(lines, key=lambda t: t.committed_s)):
        y = TOP + (i + 0.5) * step
        marks.append(
            _line(_x(line.committed_s, end), y, _x(line.ended_s, end), y, "#b8c4d6", max(1.0, 0.5 * step))
        )
        due = [line.committed_s + slo.allowance + slo.pace * (n + 1) for n in range(len(line.token_s))]
        for at, until in zip(line.token_s, due, strict=True):
            colour = RED if at > until else BLUE
            marks.append(f'<circle cx="{_x(at, end):.1f}" cy="{y:.1f}" r="1.6" fill="{colour}"/>')
    return marks


def _batch(
    lines: Sequence[Timeline], at_s: Sequence[float], counters: Sequence[Mapping[str, float]], end: float
) -> list[str]:
    """Prompt rows (of both classes: the server counts them together) and batch answer tokens between two looks."""
    delivered = sorted(at for line in lines for at in line.token_s)
    points: dict[str, list[tuple[float, float]]] = {"prompt": [], "answer": []}
    for a, b, before, after in zip(at_s, at_s[1:], counters, counters[1:], strict=False):
        readers = sum(a <= at < b for at in delivered)
        grown = {
            n: after.get(n, 0.0) - before.get(n, 0.0) for n in ("prefill_rows_total", "output_tokens_total")
        }
        points["prompt"].append((b, grown["prefill_rows_total"] / (b - a)))
        points["answer"].append((b, max(0.0, grown["output_tokens_total"] - readers) / (b - a)))
    top = TOP + ROWS + GAP
    most = max([1.0, *(y for series in points.values() for _, y in series)])
    marks = [
        _text(LEFT - 8, top + 4, f"{most:.0f}", anchor="end"),
        _text(LEFT - 8, top + BELOW, "0", anchor="end"),
    ]
    for (name, series), colour in zip(points.items(), (GREEN, "#8e44ad"), strict=True):
        path = " ".join(f"{_x(at, end):.1f},{top + BELOW * (1 - y / most):.1f}" for at, y in series)
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        at = LEFT + (10 if name == "prompt" else 150)
        marks += [
            _line(at, top + 6, at + 18, top + 6, colour, 2),
            _text(at + 24, top + 10, f"{name} tokens", anchor="start"),
        ]
    return marks
