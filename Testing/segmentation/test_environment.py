from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from ProtoSegBrainLib.network.weights import BUNDLED, read_card
from ProtoSegBrainLib.segmentation import environment as module
from ProtoSegBrainLib.segmentation.environment import environment


def test_what_there_is() -> None:
    values = environment()
    assert values["problems"] == []
    assert values["python"] == ".".join(map(str, sys.version_info[:3]))
    assert values["torch"]["version"] == torch.__version__
    assert values["torch"]["build"] in torch.__version__ or torch.version.cuda or torch.version.hip
    assert values["model"] == {
        "name": read_card(BUNDLED).name,
        "identity": read_card(BUNDLED).identity,
        "path": str(BUNDLED),
    }
    assert [device["name"] for device in values["devices"]][-1] == "cpu"
    assert json.loads(json.dumps(values)) == values


@pytest.mark.skipif(not Path("/proc/meminfo").is_file(), reason="Linux says it in a file of its own")
def test_memory_is_what_linux_says() -> None:
    said = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    cpu = environment()["devices"][-1]
    assert cpu["memory_gb"] == pytest.approx(int(said["MemTotal"].split()[0]) * 1024 / 1e9, abs=0.06)
    assert 0 < cpu["free_gb"] <= cpu["memory_gb"]


def test_a_system_without_the_count_has_no_memory_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module.os, "sysconf")
    assert {key: environment()["devices"][-1][key] for key in ("memory_gb", "free_gb")} == {
        "memory_gb": None,
        "free_gb": None,
    }


def test_what_is_missing_is_said_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("protosegbrain", "torch", "no-such-package"))
    monkeypatch.setattr(module, "_version", {}.get)
    values = environment()
    assert values["problems"] == ["torch is not installed.", "no-such-package is not installed."]
    assert (values["torch"], values["devices"], values["model"]) == (None, [], None)


def test_a_broken_torch_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (problem,) = environment()["problems"]
    assert problem.startswith("ModuleNotFoundError")


def test_a_damaged_model_is_a_sentence_and_the_rest_is_still_there(tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(BUNDLED.read_bytes()[:-1] + b"x")
    path.with_suffix(".json").write_bytes(BUNDLED.with_suffix(".json").read_bytes())
    values = environment(path)
    assert "SHA-256 differs" in values["problems"][0]
    assert values["model"] is None
    assert values["torch"]["version"] == torch.__version__
    assert values["devices"]
