"""The whole command: data, splits, resumption, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from short_runs import CASES, CONFIG, curve
from synthetic import on_the_grid_of_a_head

from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.simulation.simulate import write_case
from ProtoSegBrainLib.training.train import read_split, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases; ``splits.json`` beside them names two folds."""
    folder = tmp_path_factory.mktemp("data")
    for case_id, case in zip("abc", CASES, strict=True):
        write_case(on_the_grid_of_a_head(case, case_id), folder / "cases")
    (folder / "splits.json").write_text(json.dumps({"folds": [["a"], ["b", "c"]]}))
    return folder


WHOLE = replace(CONFIG, steps=4, checkpoint_minutes=0.0, name="a-model")


def train_here(data: Path, out: Path, fold: str = "0", **options: Any) -> dict[str, Any]:
    config = replace(WHOLE, cache=str(data / "cache"))
    return train(config, data / "cases", data / "splits.json", fold, out, **options)


def test_a_killed_run_goes_on_where_its_checkpoint_was(data, tmp_path):
    def kill(_: float, text: str) -> None:
        if "step 3" in text:
            raise KeyboardInterrupt

    summary = train_here(data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_here(data, tmp_path / "killed", on_progress=kill)
    assert [line["step"] for line in curve(tmp_path / "killed")] == [1, 2, 3]  # step 3 is not in the checkpoint
    resumed = train_here(data, tmp_path / "killed", resume=True)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert (tmp_path / "killed" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    clock = {"minutes": 0, "patches_per_second": 0, "peak_memory_mib": 0}
    assert resumed | clock == summary | clock
    network, card = load_model(tmp_path / "killed" / "model.safetensors")
    assert card.name == "a-model"
    assert card.training["fold"] == "0"
    assert card.training["cases"] == ["b", "c"]
    assert not network.training


def test_a_folder_with_a_run_is_not_overwritten(data, tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(FileExistsError, match=r"already holds a run.*--resume"):
        train_here(data, tmp_path)


def test_nothing_to_resume_is_said(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume from"):
        train_here(data, tmp_path / "new", resume=True)


@pytest.mark.parametrize("fold", ["2", "-1", "first", "1.0"])
def test_a_fold_that_is_not_there_is_refused(data, tmp_path, fold):
    with pytest.raises(ValueError, match=rf"--fold: expected 0 to 1 or all.*got '{fold}'"):
        train_here(data, tmp_path / "new", fold=fold)
    assert not (tmp_path / "new").exists()


def test_a_splits_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text('{"train": []}')
    with pytest.raises(ValueError, match=r"splits.json.*folds"):
        read_split(tmp_path / "splits.json", "0")
    (tmp_path / "splits.json").write_text("not json")
    with pytest.raises(ValueError, match=r"splits.json"):
        read_split(tmp_path / "splits.json", "0")
    for folds, message in {
        "[1, 2]": r"folds\[0\]: expected a list, as \[1, 2\]; got 1",
        '"abc"': "folds: expected a list",
        '["abc", "d"]': r"folds\[0\]: expected a list",
        "[[1]]": r"folds\[0\]\[0\]: expected a text; got 1",
        "null": "folds: expected a list",
        '[["a"], ["b", "a"]]': "a is named twice",
    }.items():
        (tmp_path / "splits.json").write_text(f'{{"folds": {folds}}}')
        with pytest.raises(ValueError, match=rf"splits.json.*{message}"):
            read_split(tmp_path / "splits.json", "0")
    with pytest.raises(FileNotFoundError, match=r"none.json"):
        read_split(tmp_path / "none.json", "0")


def test_a_fold_that_leaves_nothing_to_train_on_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text('{"folds": [["a", "b"]]}')
    with pytest.raises(ValueError, match="no case left"):
        read_split(tmp_path / "splits.json", "0")
    assert read_split(tmp_path / "splits.json", "all") == (["a", "b"], [])


def test_a_case_that_is_not_there_is_refused(data, tmp_path):
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [["a"], ["d"]]}))
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of the 1 cases asked for.*d"):
        train(WHOLE, data / "cases", tmp_path / "splits.json", "0", tmp_path / "new")


def test_a_fold_trains_on_the_others_and_all_trains_on_all(data):
    assert read_split(data / "splits.json", "0") == (["b", "c"], ["a"])
    assert read_split(data / "splits.json", "1") == (["a"], ["b", "c"])
    assert read_split(data / "splits.json", "all") == (["a", "b", "c"], [])


def test_some_cases_are_trained_on_in_every_fold(tmp_path):
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [["a"], ["b"]], "always": ["c"]}))
    assert read_split(tmp_path / "splits.json", "0") == (["b", "c"], ["a"])
    assert read_split(tmp_path / "splits.json", "all") == (["a", "b", "c"], [])
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [["a"], ["b"]], "always": ["b"]}))
    with pytest.raises(ValueError, match="b is named twice"):
        read_split(tmp_path / "splits.json", "0")


def test_a_device_that_is_not_there_is_refused_before_any_work(data, tmp_path):
    with pytest.raises(ValueError, match=r"device: torch cannot use 'abacus'"):
        train(replace(WHOLE, device="abacus"), data / "cases", data / "splits.json", "0", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_healthy_brains_take_part(data, tmp_path, monkeypatch):
    simulated = []
    monkeypatch.setattr(
        "ProtoSegBrainLib.patches.healthy.simulated_healthy",
        lambda seed: simulated.append(seed) or replace(CASES[0], label=CASES[0].label * 0),
    )
    sampling = replace(WHOLE.sampling, healthy_share=1.0, simulated_healthy=1)
    config = replace(WHOLE, sampling=sampling, cache="")
    train(config, data / "cases", data / "splits.json", "0", tmp_path / "run")
    assert simulated == [1000]
    assert {path.name for path in (tmp_path / "run" / "prepared").glob("*healthy*.json")} == {
        "b_healthy.json",
        "c_healthy.json",
        "simulated_healthy_0.json",
    }
