"""Models without prototypes on the command line: they segment like all others, and say that they cannot say why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_model import PEER, PLAIN, SMALL, WHOLE, save_small_model

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.result.prediction_files import read_prediction
from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case

MODELS = {"plain": PLAIN, "peer": PEER, "whole": WHOLE}
Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with --json; exit code and the one object on standard output."""

    def run_command(*arguments: object) -> tuple[int, dict[str, Any]]:
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run_command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_case(replace(simulate_case(1, shape=(52, 52, 52)), case_id="case_1"), folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    configs = {**MODELS, "with": SMALL}
    return {name: save_small_model(folder / f"{name}.safetensors", config=config) for name, config in configs.items()}


@pytest.mark.parametrize("name", MODELS)
def test_a_case_is_segmented_scored_and_reported(
    run: Run, data: Path, models: dict[str, Path], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    case = ("--case", data / "case_1", "--out", out, "--device", "cpu", "--tta")
    code, answer = run("segment", *case, "--model", models[name])
    assert code == 0
    assert sorted(answer["files"]) == ["prediction", "prob", "report", "seg", "unc"]
    assert sorted(path.name for path in out.iterdir()) == sorted(Path(path).name for path in answer["files"].values())
    prediction = read_prediction(out)
    assert prediction.similarities.shape[0] == 0
    np.testing.assert_allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-4)
    assert prediction.disagreement is not None
    report = (out / "case_1_report.html").read_text(encoding="utf-8")
    assert f"This model ({name}) has no prototypes, so it cannot say why." in report
    code, answer = run("evaluate", "--data", data, "--predictions", out, "--out", tmp_path / "scores.csv")
    assert (code, answer["n_cases"]) == (0, 1)


def test_a_result_with_prototypes_is_replaced_whole(
    run: Run, data: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    case = ("segment", "--case", data / "case_1", "--out", tmp_path, "--device", "cpu", "--no-report")
    run(*case, "--model", models["with"])
    assert (tmp_path / "case_1_sim.nii.gz").is_file()
    code, answer = run(*case, "--model", models["plain"], "--overwrite")
    assert code == 0
    assert sorted(tmp_path.iterdir()) == sorted(map(Path, answer["files"].values()))


def test_a_whole_tumour_network_says_that_it_finds_nothing_else(
    run: Run, data: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "This model (whole) finds the whole tumour only and marks all of it as ED; it says nothing of its parts."
    _, answer = run("segment", "--case", data / "case_1", "--out", tmp_path, "--model", models["whole"])
    assert sentence in answer["warnings"]
    prediction = read_prediction(tmp_path)
    assert prediction.regions == ("WT",)
    assert list(prediction.findings["regions"]) == ["WT"]
    assert set(np.unique(prediction.label)) <= {0, CLASSES.index("ED")}
    assert prediction.label.any()
    assert main(["info", "--model", str(models["whole"])]) == 0
    told = " ".join(capsys.readouterr().out.split())  # lines are as long as the terminal is wide
    assert sentence in told
    assert "This model (whole) has no prototypes, so it cannot say why." in told
    assert main(["info", "--model", str(models["plain"])]) == 0
    assert "whole tumour only" not in capsys.readouterr().out


@pytest.fixture
def asked(data: Path, models: dict[str, Path], tmp_path: Path) -> dict[str, list[object]]:
    """The commands that are about prototypes, each with all it needs but a model that has them."""
    model, out = ["--model", models["plain"]], tmp_path / "out"
    prediction = ["--prediction", tmp_path / "prediction"]
    return {
        "cards": ["--out", out, *model],
        "portray": [*model, "--data", data],
        "prune": [*model, "--disable", "0", "--data", data, "--out", out.with_suffix(".safetensors")],
        "faithfulness": [*model, "--data", data, "--out", out.with_suffix(".json")],
        "explain": [*prediction, "--voxel", "16,16,12"],
        "whatif": [*prediction, "--disable", "0", "--out", out],
    }


@pytest.mark.parametrize("command", ["cards", "portray", "prune", "faithfulness", "explain", "whatif"])
def test_what_only_prototypes_can_answer_is_refused(
    run: Run, data: Path, models: dict[str, Path], tmp_path: Path, asked: dict[str, list[object]], command: str
) -> None:
    if command in ("explain", "whatif"):
        case = ("--case", data / "case_1", "--out", tmp_path / "prediction", "--no-report")
        assert run("segment", *case, "--model", models["plain"])[0] == 0
    code, answer = run(command, *asked[command])
    assert code == 2
    assert answer["error"] == "This model (plain) has no prototypes, so it cannot say why."
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("name", ["plain", "peer"])
def test_a_folder_is_segmented_once(run: Run, data: Path, models: dict[str, Path], tmp_path: Path, name: str) -> None:
    batch = ("segment-folder", "--cases", data, "--out", tmp_path, "--no-report", "--device", "cpu")
    run(*batch, "--model", models["with"])
    code, answer = run(*batch, "--model", models[name], "--overwrite")
    assert (code, answer["done"], answer["done_before"]) == (0, 1, 0)
    assert not (tmp_path / "case_1_sim.nii.gz").exists()
    assert run(*batch, "--model", models[name])[1]["done_before"] == 1
    (tmp_path / "case_1_unc.nii.gz").unlink()
    code, answer = run(*batch, "--model", models[name], "--overwrite")
    assert (code, answer["done_before"]) == (0, 0)
    assert (tmp_path / "case_1_unc.nii.gz").is_file()


def test_the_demo_draws_probabilities(
    run: Run, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = simulate_case(3, shape=(52, 52, 52))
    monkeypatch.setattr("ProtoSegBrainLib.simulation.simulate.simulate_case", lambda _seed: small)
    code, answer = run("demo", "--out", tmp_path, "--model", models["plain"])
    assert code == 0
    assert Path(answer["files"]["picture"]).is_file()
    assert read_case(Path(answer["case_folder"])).case_id == small.case_id
