"""The commands info and export."""

import json

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
