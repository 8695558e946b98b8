"""A search runs, goes on, and leaves a configuration that `train` takes."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic import TINY, on_the_grid_of_a_head, training_case

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.network.model import ModelConfig
from ProtoSegBrainLib.network.peers import PeerConfig
from ProtoSegBrainLib.patches.sampling import SamplingConfig
from ProtoSegBrainLib.simulation.simulate import write_case
from ProtoSegBrainLib.training import train as training
from ProtoSegBrainLib.training.configuration import load_config, to_yaml
from ProtoSegBrainLib.training.losses import LossConfig
from ProtoSegBrainLib.training.recipe import TrainConfig
from ProtoSegBrainLib.training.tuning import Place, TuneConfig, search_space, tune, with_values

START = TrainConfig(
    model=TINY, sampling=SamplingConfig(patch_size=16), steps=4, device="cpu", precision="float32", validations=0
)
SOUGHT = ("loss.cross_entropy", "loss.purity", "loss.cluster", "loss.separation", "loss.diversity", "loss.l1")
ONE = TuneConfig(trials=1, minutes=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    """Three tiny cases on disk; fold 0 holds one out."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(3):
        case = training_case(number)
        write_case(on_the_grid_of_a_head(case, case.case_id), folder / "cases")
    (folder / "splits.json").write_text(json.dumps({"folds": [["case_0"], ["case_1", "case_2"]]}))
    return Place(folder / "cases", folder / "splits.json", "0")


@pytest.fixture(scope="module")
def searched(place, tmp_path_factory) -> tuple[Path, dict]:
    """A search of two real trainings, from the command line."""
    out = tmp_path_factory.mktemp("search")
    (out / "start.yaml").write_text(to_yaml(START))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    arguments = ["--data", place.data, "--splits", place.splits, "--fold", "0", "--network", out / "start.yaml"]
    code = main(["tune", *map(str, arguments), "--out", str(out / "found"), "--trials", "2", "--minutes", "0"])
    torch.set_num_threads(threads)
    assert code == 0
    return out / "found", {row["trial"]: row for row in csv.DictReader((out / "found/trials.csv").open())}


@pytest.fixture
def scored(monkeypatch):
    """In place of a training, a score that is the better, the nearer the weights are to some; records what it got."""
    seen: list[TrainConfig] = []

    def train(config, data, splits, fold, out, *, reading, on_progress):
        seen.append(config)
        on_progress(1.0, "done")
        dice = 1 / (1 + abs(config.loss.cross_entropy - 3) + 10 * abs(config.loss.purity - 0.3))
        return {"dice": {"WT": dice, "TC": dice, "ET": dice}, "steps": 1}

    monkeypatch.setattr(training, "train", train)
    return seen


# -- a real search -----------------------------------------------------------------------------------------------------


def test_each_trial_is_a_training_and_the_first_is_the_start(searched):
    out, rows = searched
    assert sorted(rows) == ["0", "1"]
    for number, row in rows.items():
        summary = json.loads((out / f"trial_00{number}/summary.json").read_text())
        regions = {region: float(row[f"dice_{region}"]) for region in ("WT", "TC", "ET")}
        assert regions == summary["dice"]
        assert float(row["dice"]) == pytest.approx(sum(regions.values()) / 3)
        config = json.loads((out / f"trial_00{number}/model.json").read_text())["training"]["config"]
        assert {name: float(row[name]) for name in SOUGHT} == {name: config["loss"][name[5:]] for name in SOUGHT}
        assert not config["portraits"]
    assert {name: float(rows["0"][name]) for name in SOUGHT} == {
        name: getattr(START.loss, name.removeprefix("loss.")) for name in SOUGHT
    }
    assert rows["0"]["loss.cross_entropy"] != rows["1"]["loss.cross_entropy"]


def test_the_best_is_a_configuration_for_train(searched):
    out, rows = searched
    best = max(rows.values(), key=lambda row: float(row["dice"]))
    values = {name: float(best[name]) for name in SOUGHT}
    assert load_config(out / "best.yaml") == with_values(START, values)
    assert "score it on others" in (out / "best.yaml").read_text()


def test_the_picture_is_there(searched):
    assert (searched[0] / "tuning.png").read_bytes().startswith(b"\x89PNG")


def test_the_cases_are_prepared_once_for_all_trials(searched):
    assert (searched[0] / "prepared").is_dir()
    assert not list(searched[0].glob("trial_*/prepared"))


# -- searching ---------------------------------------------------------------------------------------------------------


def test_a_search_finds_better_weights_than_it_began_with(place, tmp_path, scored):
    found = tune(START, place, tmp_path, TuneConfig(trials=20, minutes=0))
    assert found["trials"] == len(scored) == 20
    assert scored[0].loss == START.loss
    assert found["best_dice"] > 1.5 * found["first_dice"]
    assert load_config(tmp_path / "best.yaml").loss == scored[found["best_trial"]].loss


def test_minutes_of_a_trial_are_not_those_of_the_best_configuration(place, tmp_path, scored):
    tune(replace(START, minutes=45), place, tmp_path, TuneConfig(trials=1, minutes=2))
    assert scored[0].minutes == 2
    assert load_config(tmp_path / "best.yaml").minutes == 45


def test_a_second_run_goes_on_and_draws_other_values(place, tmp_path, scored):
    tune(START, place, tmp_path, TuneConfig(trials=2, minutes=0))
    found = tune(START, place, tmp_path, TuneConfig(trials=5, minutes=0))
    assert found["trials"] == len(scored) == 5
    assert len({config.loss for config in scored}) == 5
    assert tune(START, place, tmp_path, ONE)["trials"] == 5  # done: it only says so
    assert len(scored) == 5


def test_a_trial_that_was_killed_is_done_again(place, tmp_path, scored, monkeypatch):
    import optuna

    tune(START, place, tmp_path, ONE)
    study = optuna.load_study(study_name="tuning", storage=f"sqlite:///{tmp_path / 'study.db'}")
    killed = study.ask()  # what a killed process leaves: a trial that says it runs
    for name, (low, _, high) in search_space(START, "loss").items():
        killed.suggest_float(name, low, high, log=True)
    weight = float(f"{killed.params['loss.purity']:.3g}")
    found = tune(START, place, tmp_path, TuneConfig(trials=2, minutes=0))
    assert found["trials"] == 2
    assert scored[-1].loss.purity == weight


def test_a_training_that_diverges_scores_nothing(place, tmp_path, monkeypatch):
    def train(*_, **__):
        raise FloatingPointError("The loss is nan")

    monkeypatch.setattr(training, "train", train)
    assert tune(START, place, tmp_path, ONE)["best_dice"] == 0


def test_another_search_in_the_same_folder_is_refused(place, tmp_path, scored):
    tune(START, place, tmp_path, ONE)
    with pytest.raises(ValueError, match=r"another configuration and fold"):
        tune(replace(START, seed=1), replace(place, fold="1"), tmp_path, ONE)
    with pytest.raises(ValueError, match=r"another search"):
        tune(START, place, tmp_path, replace(ONE, search="all"))


def test_a_fold_without_held_out_cases_is_refused(place, tmp_path):
    with pytest.raises(ValueError, match=r"fold all of .*splits\.json has none"):
        tune(START, replace(place, fold="all"), tmp_path / "out", ONE)
    assert not (tmp_path / "out").exists()


# -- what is sought ----------------------------------------------------------------------------------------------------


def test_the_first_term_keeps_its_weight_and_what_is_off_stays_off():
    assert tuple(search_space(START, "loss")) == SOUGHT
    low, value, high = search_space(START, "loss")["loss.purity"]
    assert (low, value, high) == pytest.approx((0.1 / 8, 0.1, 0.1 * 8))


def test_all_adds_rate_and_decay():
    assert tuple(search_space(START, "all")) == (*SOUGHT, "learning_rate", "weight_decay")
    assert "weight_decay" not in search_space(replace(START, weight_decay=0.0), "all")


@pytest.mark.parametrize("model", [ModelConfig(prototypes_per_class=(0,) * 4), PeerConfig("segresnet")])
def test_a_network_without_prototypes_has_no_weights_of_prototypes(model):
    assert tuple(search_space(replace(START, model=model), "loss")) == ("loss.cross_entropy",)


def test_one_term_alone_leaves_nothing_to_seek():
    start = replace(START, model=PeerConfig("segresnet"), loss=LossConfig(cross_entropy=0))
    with pytest.raises(ValueError, match="one loss term"):
        search_space(start, "loss")
    assert "learning_rate" in search_space(start, "all")


def test_values_go_where_their_names_say():
    config = with_values(START, {"loss.purity": 0.7, "learning_rate": 0.01})
    assert config == replace(START, loss=replace(START.loss, purity=0.7), learning_rate=0.01)


@pytest.mark.parametrize("options", [{"trials": 0}, {"minutes": -1}, {"search": "everything"}])
def test_a_search_of_nothing_is_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        TuneConfig(**options)


def test_optuna_is_named_where_it_is_missing(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"pip install \"protosegbrain\[tune\]\""):
        tune(START, place, tmp_path, ONE)
