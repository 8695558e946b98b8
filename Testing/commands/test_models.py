"""The commands info and export."""

import json
import shutil

import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.sharing.export import TOLERANCE
from ProtoSegBrainLib.training.configuration import load_config

# -- info ----------------------------------------------------------------------------------------------------------


def test_info_shows_the_card(run, model):
    code, answer = run("info", "--model", model)
    assert code == 0
    assert answer["name"] == "tiny"
    assert answer["model"]["prototypes_per_class"] == [1, 1, 1, 1]


@pytest.mark.parametrize("columns", [40, 80, 120, 300])
def test_info_is_for_a_person_and_fits_the_terminal(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) < min(max(columns, 79), 120)
    assert not set(text) & set("{}[]"), "no Python"
    assert len(text.splitlines()) < 120
    words = (
        *("Research use only", "T1, T1ce, T2 and FLAIR", "32-64-128 channels", "21 prototypes", "3.43 million"),
        *("enhancing rim", "Brats18_CBICA_AQQ_1", "5 training cases", "50 cases", "0.940", "0.58 to 1.71 (90%)"),
        *("2.55 (background)", "below 0.25 ml", "4808 steps", "Menze"),
    )
    said = " ".join(text.split())
    assert [word for word in words if word not in said] == []


def test_info_of_what_was_never_trained_or_calibrated_says_so(capsys, model):
    assert main(["info", "--model", str(model)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "never projected onto patches" in said
    assert "was not measured" in said
    assert "Training: not recorded." in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {}}, "m.json is not a ProtoSegBrain model card: model: backbone"),
        ({"calibration": []}, "m.json is not a ProtoSegBrain model card: calibration: expected a section"),
    ],
)
@pytest.mark.parametrize("command", ["info", "segment"])
def test_a_damaged_card_is_bad_input_in_one_sentence(command, change, message, model, data, tmp_path, capsys):
    shutil.copy(model, tmp_path / "m.safetensors")
    card = json.loads(model.with_suffix(".json").read_text())
    (tmp_path / "m.json").write_text(json.dumps(card | change))
    more = ["--case", str(data / "simulated_1"), "--out", str(tmp_path / "out")] if command == "segment" else []
    assert main([command, "--model", str(tmp_path / "m.safetensors"), *more]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "out").exists()


def test_info_prints_a_network_as_a_file_that_train_takes(capsys, tmp_path):
    assert main(["info", "--network", "resunet"]) == 0
    mine = tmp_path / "mine.yaml"
    mine.write_text(capsys.readouterr().out)
    assert load_config(mine) == load_config("resunet")


# -- export --------------------------------------------------------------------------------------------------------


def test_a_bundle_from_the_command_line(model, tmp_path, capsys):
    out = tmp_path / "bundle"
    assert main(["export", "--model", str(model), "--format", "monai", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == "tiny"
    assert said["largest_difference"] <= TOLERANCE
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"configs/inference.json", "configs/metadata.json", "docs/README.md", "models/model.ts", "LICENSE"}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [("monai", "full", "already there"), ("onnx", "full", "is a folder"), ("onnx", "file/model.onnx", "is a file")],
)
def test_a_place_that_cannot_be_written_is_bad_input(kind, name, reason, model, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", "--model", str(model), "--format", kind, "--out", str(tmp_path / name)]) == 2
    assert reason in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
