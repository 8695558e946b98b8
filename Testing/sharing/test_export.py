"""Exports are run by the programs that they are made for, and give what torch gives."""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models_of_every_kind import PEERS, WIDE, model_of
from small_model import SMALL

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.result import prediction
from ProtoSegBrainLib.sharing.export import TOLERANCE, to_onnx, to_torchscript, write_onnx


@functools.cache
def onnx_of(config):
    """It takes seconds."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return to_onnx(model_of(config))


@pytest.mark.parametrize("config", [SMALL, WIDE, *PEERS.values()], ids=["small", "wide", *PEERS])
def test_onnx_gives_what_torch_gives_at_any_size(config):
    runtime = pytest.importorskip("onnxruntime")
    network, _ = model_of(config)
    export = onnx_of(config)
    session = runtime.InferenceSession(export.content)
    images = torch.randn(1, 4, *(network.size_multiple * n for n in (5, 2, 3)))
    with torch.inference_mode():
        output = network(images)
    found = session.run(None, {"images": images.numpy()})
    expected = [output.logits, output.similarities] if network.prototype_class else [output.logits]
    assert 0 < export.largest_difference <= TOLERANCE
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=TOLERANCE)


def test_onnx_of_the_bundled_model_on_a_brain(a_case, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    network, card = load_model()
    out = tmp_path / "new" / "model.onnx"
    assert main(["export", "--out", str(out), "--json"]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["largest_difference"] <= TOLERANCE
    images = prepare(a_case).images
    pad = [(0, -n % network.size_multiple) for n in images.shape[1:]]
    images = torch.from_numpy(np.pad(images, [(0, 0), *pad])[None])
    session = runtime.InferenceSession(out)
    logits, similarities = session.run(["logits", "similarities"], {"images": images.numpy()})
    with torch.inference_mode():
        output = network(images)
    np.testing.assert_allclose(logits, output.logits, atol=TOLERANCE)
    np.testing.assert_allclose(similarities, output.similarities, atol=TOLERANCE)
    about = session.get_modelmeta().custom_metadata_map
    assert about["identity"] == card.identity
    assert "Research use only" in about["intended_use"]
    assert json.loads(about["stride"]) == network.stride
    assert json.loads(about["temperature"]) == list(card.calibration.temperature)
    assert len(json.loads(about["prototype_class"])) == similarities.shape[1]


def test_exports_hold_no_paths_of_this_machine():
    contents = onnx_of(SMALL).content, to_torchscript(model_of(SMALL)[0]).content
    places = [str(Path(file).parent).encode() for file in (torch.__file__, pytest.__file__, prediction.__file__)]
    assert not [place for place in places for content in contents if place in content]


def test_without_its_packages_onnx_says_which_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'pip install "protosegbrain\[export\]"'):
        write_onnx(model_of(SMALL), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
