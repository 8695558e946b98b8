"""The command train."""

from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.training import train as training


def test_train_passes_preset_and_flags_on(run, monkeypatch, tmp_path):
    seen = {}

    def fake_train(config, data, splits, fold, out, *, resume, on_progress, reading):
        seen.update(config=config, fold=fold, resume=resume, reading=reading)
        on_progress(0.5, "half")
        return {"steps": 3}

    monkeypatch.setattr(training, "train", fake_train)
    arguments = ["--data", tmp_path, "--splits", tmp_path / "s.json", "--fold", "all", "--out", tmp_path]
    changes = ["--preset", "seed", "--minutes", "2.5", "--loss-dice", "0.3", "--model-prototype-size", "3", "--resume"]
    changes += ["--labels", "peds", "--geometry", "qform"]
    code, answer = run("train", *arguments, *changes)
    assert (code, answer["steps"]) == (0, 3)
    assert (seen["fold"], seen["resume"], seen["config"].minutes, seen["config"].loss.dice) == ("all", True, 2.5, 0.3)
    assert seen["config"].model.widths == (64, 128, 256, 512)
    assert seen["config"].model.prototype_size == 3
    assert seen["reading"] == Reading(labels="peds", geometry="qform")


def test_train_takes_another_network_with_its_own_training(run, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(training, "train", lambda config, *_, **__: seen.update(config=config) or {})
    where = ["--data", tmp_path, "--splits", tmp_path / "s.json", "--fold", "3", "--out", tmp_path]
    assert run("train", *where, "--network", "segresnet", "--minutes", "2")[0] == 0
    config = seen["config"]
    assert (config.model.architecture, config.minutes, config.name) == ("segresnet", 2, "segresnet-fold-3")
    assert (config.loss.region_sigmoid_dice, config.loss.region_dice) == (1, 0)
    code, answer = run("train", *where, "--network", "segresnet", "--model-norm", "batch")
    assert code == 2
    assert "--model-" in answer["error"]
    code, answer = run("train", *where, "--network", "segresnett")
    assert code == 2
    assert "segresnet" in answer["error"]


def test_train_refuses_data_that_is_not_there(run, tmp_path):
    where = ["--data", tmp_path / "gone", "--splits", tmp_path / "gone.json", "--fold", "0", "--out", tmp_path / "run"]
    code, answer = run("train", *where)
    assert code == 2
    assert "gone" in answer["error"]
