"""The command figures: which files there are of what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import Case, encode_label
from ProtoSegBrainLib.images.simulate import write_case
from ProtoSegBrainLib.images.volume import Volume, write_volume
from ProtoSegBrainLib.training.logbook import Logbook

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def places(a_case: Case, tmp_path_factory) -> tuple[Path, Path]:
    """Data and predictions of three cases: one perfect, one that lacks enhancement, one with nothing found."""
    folder = tmp_path_factory.mktemp("figures")
    label = np.asarray(a_case.label)
    found = {"a_none": label * 0, "b_perfect": label, "c_no_et": np.where(label == 3, 1, label).astype(np.uint8)}
    (folder / "predictions").mkdir()
    for case_id, predicted in found.items():
        write_case(replace(a_case, case_id=case_id), folder / "data")
        path = folder / "predictions" / f"{case_id}_seg.nii.gz"
        write_volume(path, Volume(encode_label(predicted, "brats2020"), a_case.affine))
    return folder / "data", folder / "predictions"


def run(*arguments: object) -> int:
    return main(["figures", *map(str, arguments)])


def test_all_figures_of_predictions(places, tmp_path, capsys) -> None:
    data, predictions = places
    assert run("--data", data, "--predictions", predictions, "--out", tmp_path / "out", "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert sorted(Path(path).name for path in files.values()) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert set(files) == {
        *("dashboard", "failures", "failures_table", "sheet_best", "sheet_typical", "sheet_worst", "sweep"),
    }
    assert Path(files["sweep"]).name == "sweep_c_no_et.gif"
    rows = Path(files["failures_table"]).read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["case_id", "a_none", "c_no_et", "b_perfect"]


def test_figures_of_a_run(tmp_path, capsys) -> None:
    with Logbook(tmp_path / "run") as logbook:
        logbook.log(1, {"loss/total": 1.0, "minutes": 0.1})
        logbook.log(2, {"loss/total": 0.5, "minutes": 0.2})
    assert run("--run", tmp_path / "run", "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["curves.png", "dynamics.png"]
    assert "curves.png" in capsys.readouterr().out


def test_a_log_that_was_kept_is_drawn(tmp_path) -> None:
    assert run("--run", ROOT / "docs/results/log_fold_0.jsonl", "--out", tmp_path) == 0
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give --run"),
        (["--data", "somewhere"], "go together"),
        (["--run", "nowhere"], "There is no log"),
        (["--data", "nowhere", "--predictions", "nowhere"], "There is no folder"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(arguments, message, tmp_path, capsys) -> None:
    assert run(*arguments, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
