"""h5ad files that are damaged, lie or reach for other files, given to ``gather annotate``.

Real files of the mirror where it is at hand, and a synthetic one. The graph is made of the genes of the files, so that
an undamaged file is annotated.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import h5py

from tests.conftest import mirror_folder
from tests.hostile import h5ad
from tests.hostile.attacks import Attack, Ground, Watched, flipped, left_over, rng
from tests.hostile.commands import Limits

REAL = ("colon_kinchen2018_mini", "pancreas_wang2016_scclassify", "marrow_he2020_scdiagnostics")
GROUP = "cell_type"
CELL_EVERY = 16
"""Of so many random files one is annotated cell by cell."""
LIMITS = Limits(cpu_s=60, wall_s=300, memory=4 << 30)
"""A minute of processor time, whatever else the machine does, and 4 GB."""


def attacks(ground: Ground) -> list[Attack]:
    """The attacks of this part."""
    synthetic = h5ad.write_synthetic(ground.folder / "synthetic.h5ad")
    long = h5ad.write_synthetic(ground.folder / "long.h5ad", cells=2_600)
    sources = [synthetic]
    if (mirror := mirror_folder()) is not None:
        sources += [
            path
            for name in REAL
            for path in [mirror / "h5ad" / f"{name}.h5ad", mirror / "h5ad_more" / f"{name}.h5ad"]
            if path.is_file()
        ]
    graph = h5ad.graph_of(sources).save(ground.folder / "graph")
    for source in sources:
        words = annotate(source, ground.folder / f"whole-{source.name}", graph)
        ground.must_work(words, ground.folder)
        said = valid(ground, ground.folder / f"whole-{source.name}", source, ground.folder)
        if said:
            raise RuntimeError(f"{source.name}, undamaged: {said}")
    random = partial(_random, ground, sources, graph)
    return [
        Attack("h5ad: random bits", random),
        *(
            Attack(
                f"h5ad: {name}",
                partial(_damaged, ground, long if name == "values" else synthetic, graph, damages),
                len(damages),
            )
            for name, damages in h5ad.DAMAGES.items()
        ),
        Attack("h5ad: links to other files", partial(_linked, ground, synthetic, graph), len(h5ad.LINKS)),
        Attack(
            "annotate: names and places of outputs", partial(_places, ground, synthetic, graph), len(PLACES)
        ),
    ]


def annotate(
    source: Path, out: Path, graph: Path, *more: str | Path, groupby: str = GROUP
) -> list[str | Path]:
    """The command."""
    return ["gather", "annotate", source, "-o", out, "-g", graph, "--groupby", groupby, *more]


def valid(ground: Ground, out: Path, source: Path, folder: Path) -> str | None:
    """What is wrong with an output, looked at in another process, for it may kill its reader."""
    ended = ground.run(["check-h5ad", out, source], folder)
    if ended.wrong:
        return f"exit 0, and the output is not valid: {ended.wrong}"
    return None


def _verdict(
    ground: Ground,
    words: Sequence[str | Path],
    source: Path,
    folder: Path,
    watched: Watched,
    names: Sequence[str],
    codes: Sequence[int] = (0, 2),
) -> str | None:
    """Run the command and judge it: how it ended, what it touched, what it left, what it wrote."""
    ended = ground.run(words, folder, limits=LIMITS)
    out = folder / "out.h5ad"
    said = ended.wrong or watched.harmed() or left_over(folder, [*names, "out.h5ad"])
    if said:
        return said
    if ended.code not in codes:
        return f"exit {ended.code}, wanted {' or '.join(map(str, codes))}: {ended.last_line}"
    if ended.code == 2:
        return "exit 2, and an output is there" if out.exists() else None
    return valid(ground, out, source, folder)


def _random(ground: Ground, sources: Sequence[Path], graph: Path, seed: int, folder: Path) -> str | None:
    """A few bits anywhere, or near each other among the file's own tables, which are small and decide much."""
    chance = rng("h5ad", seed)
    source = chance.choice(sources)
    content = source.read_bytes()
    window = None
    if chance.random() < 0.5:
        start = chance.randrange(max(1, len(content) - 512))
        window = range(start, min(start + 512, len(content)))
    hurt = folder / "in.h5ad"
    hurt.write_bytes(flipped(content, chance, bits=chance.choice([1, 2, 4, 8, 32]), window=window))
    groupby = "cell" if seed % CELL_EVERY == 1 else GROUP
    words = annotate(hurt, folder / "out.h5ad", graph, groupby=groupby)
    return _verdict(ground, words, hurt, folder, Watched(hurt, graph), ["in.h5ad"])


def _damaged(
    ground: Ground, source: Path, graph: Path, damages: Sequence[h5ad.Damage], seed: int, folder: Path
) -> str | None:
    """One thing in the file is not as it must be."""
    damage = damages[seed]
    hurt = folder / "in.h5ad"
    shutil.copyfile(source, hurt)
    with h5py.File(hurt, "r+") as file:
        damage.do(file)
    words = annotate(hurt, folder / "out.h5ad", graph, groupby=damage.groupby)
    said = _verdict(ground, words, hurt, folder, Watched(hurt, graph), ["in.h5ad"], damage.codes)
    return said and f"{damage.name}: {said}"


def _linked(ground: Ground, source: Path, graph: Path, seed: int, folder: Path) -> str | None:
    """A part of the file lies in another file, which must stay as it is."""
    victims = folder / "victims"
    victims.mkdir()
    hurt, victim = folder / "in.h5ad", victims / "victim.h5ad"
    shutil.copyfile(source, hurt)
    shutil.copyfile(source, victim)
    (victims / "victim.bin").write_bytes(b"secret" * 10_000)
    name, link = h5ad.LINKS[seed]
    with h5py.File(hurt, "r+") as file:
        link(file, victim)
    watched = Watched(hurt, victims, graph)
    said = _verdict(
        ground, annotate(hurt, folder / "out.h5ad", graph), hurt, folder, watched, ["in.h5ad", "victims"]
    )
    return said and f"{name}: {said}"


def _same(folder: Path) -> list[str | Path]:
    return ["-o", folder / "out.h5ad", "--report", folder / "out.h5ad"]


def _linked_out(folder: Path, *, symbolic: bool) -> list[str | Path]:
    out = folder / "link.h5ad"
    if symbolic:
        out.symlink_to(folder / "in.h5ad")
    else:
        os.link(folder / "in.h5ad", out)
    return ["-o", out, "--force"]


def _linked_report(folder: Path) -> list[str | Path]:
    (folder / "page.h5ad").symlink_to(folder / "out.h5ad")
    return ["-o", folder / "out.h5ad", "--report", folder / "page.h5ad"]


def _key(key: str, folder: Path) -> list[str | Path]:
    return ["-o", folder / "out.h5ad", "--key-added", key]


#: What is asked for; every one of them must be refused.
PLACES: list[tuple[str, Callable[[Path], list[str | Path]]]] = [
    ("the page is the output", _same),
    ("the page is a link to the output", _linked_report),
    ("the page is the input", lambda f: ["-o", f / "out.h5ad", "--report", f / "in.h5ad", "--force"]),
    ("the output is the input", lambda f: ["-o", f / "in.h5ad", "--force"]),
    ("the output is a link to the input", partial(_linked_out, symbolic=True)),
    ("the output is a second name of the input", partial(_linked_out, symbolic=False)),
    ("the output is a device", lambda _f: ["-o", "/dev/null"]),
    *(
        (f"--key-added {key!r}", partial(_key, key))
        for key in ("", "a/b", "../x", "a\nb", "a\x1bb", ".", "/", " ")
    ),
]


def _places(ground: Ground, source: Path, graph: Path, seed: int, folder: Path) -> str | None:
    """Outputs that lie on each other or on the input, and names that are none."""
    name, options = PLACES[seed]
    hurt = folder / "in.h5ad"
    shutil.copyfile(source, hurt)
    watched = Watched(hurt, graph)
    more = options(folder)
    ended = ground.run(["gather", "annotate", hurt, "-g", graph, "--groupby", GROUP, *more], folder)
    said = ended.wrong or watched.harmed() or (f"exit {ended.code}, wanted 2" if ended.code != 2 else None)
    said = said or left_over(folder, ["in.h5ad", "link.h5ad", "page.h5ad"])
    return said and f"{name}: {said}"
