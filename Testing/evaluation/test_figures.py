"""The command figures: which files there are of what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.simulation.simulate import write_case
from ProtoSegBrainLib.training.logbook import Logbook

KEPT_LOG = """\
{"step": 20, "loss/total": 1.57, "loss/region_dice": 0.92, "loss/cross_entropy": 0.65, "learning_rate": 0.0007, \
"minutes": 0.5, "gradient_norm": 2.2}
{"step": 40, "loss/total": 1.19, "loss/region_dice": 0.81, "loss/cross_entropy": 0.38, "learning_rate": 0.0012, \
"minutes": 1.0, "gradient_norm": 1.3}
{"step": 40, "training/loss": 0.62, "training/dice_WT": 0.61, "training/dice_TC": 0.48, "training/dice_ET": 0.39, \
"held_out/loss": 0.7, "held_out/dice_WT": 0.57, "held_out/dice_TC": 0.45, "held_out/dice_ET": 0.33}
{"step": 60, "loss/total": 0.99, "loss/region_dice": 0.77, "loss/cross_entropy": 0.22, "learning_rate": 0.0017, \
"minutes": 1.4, "gradient_norm": 1.2}
{"step": 80, "loss/total": 0.87, "loss/region_dice": 0.73, "loss/cross_entropy": 0.14, "learning_rate": 0.0023, \
"minutes": 1.9, "gradient_norm": 0.5}
{"step": 80, "training/loss": 0.24, "training/dice_WT": 0.91, "training/dice_TC": 0.9, "training/dice_ET": 0.79, \
"held_out/loss": 0.27, "held_out/dice_WT": 0.87, "held_out/dice_TC": 0.87, "held_out/dice_ET": 0.76}
"""
"""Of a run of train: steps, and scores of fixed patches."""


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
    (tmp_path / "kept.jsonl").write_text(KEPT_LOG)
    assert run("--run", tmp_path / "kept.jsonl", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000


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
