"""Exports are run by the programs that they are made for, and give what this library gives."""

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from small_model import SMALL, save_small_model

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.images.simulate import simulate_case, write_case
from ProtoSegBrainLib.network.evidence import Calibration
from ProtoSegBrainLib.network.networks import build_network
from ProtoSegBrainLib.network.peers import PeerConfig
from ProtoSegBrainLib.network.weights import ModelCard, load_model
from ProtoSegBrainLib.result import prediction
from ProtoSegBrainLib.result.decision import remove_small_components
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict
from ProtoSegBrainLib.sharing.bundle import rules_of, write_bundle
from ProtoSegBrainLib.sharing.export import TOLERANCE, to_onnx, to_torchscript, write_onnx

PLAIN = replace(SMALL, prototypes_per_class=(0, 0, 0, 0))
WIDE = replace(SMALL, prototype_size=3, similarity="cosine", norm="instance", aspp_pooling=True)
PEERS = {
    "unet": PeerConfig("unet", channels=(4, 4, 8, 8, 8)),
    "segresnet": PeerConfig("segresnet", channels=(8, 8), target="regions"),
    "resunet": PeerConfig("resunet", channels=(4, 8, 8, 8), target="regions", deep_supervision=1, window=32),
    "neuroseg": PeerConfig("neuroseg", channels=(4, 8), target="whole_tumour"),
}


def model_of(config):
    """A network with random weights, its normalisations away from where they begin, and its card."""
    if isinstance(config, PeerConfig):
        pytest.importorskip("monai")
    torch.manual_seed(1)
    network = build_network(config)
    with torch.no_grad():
        network(torch.randn(2, 4, 32, 32, 32))  # moves the running statistics
    return network.eval(), ModelCard("random", config)


@functools.cache
def onnx_of(config):
    """It takes seconds."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return to_onnx(model_of(config))


@pytest.fixture(scope="module")
def bundled():
    return load_model()


# -- ONNX ----------------------------------------------------------------------------------------------------------


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


def test_onnx_of_the_bundled_model_on_a_brain(bundled, a_case, tmp_path, capsys):
    runtime = pytest.importorskip("onnxruntime")
    network, card = bundled
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


def test_an_export_that_differs_is_refused_and_leaves_no_file(monkeypatch, tmp_path):
    def wrong(network):
        other = build_network(SMALL)
        other.load_state_dict(network.state_dict())
        other.last_layer.bias.data += 0.01
        return other.eval()

    monkeypatch.setattr("ProtoSegBrainLib.sharing.export.fuse_for_inference", wrong)
    with pytest.raises(RuntimeError, match=r"TorchScript export differs from torch by 0\.01"):
        write_bundle(model_of(SMALL), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


# -- MONAI bundle --------------------------------------------------------------------------------------------------


def run_bundle(folder, data, out):
    """As ``python -m monai.bundle run`` in the bundle's folder does."""
    from monai.bundle import run

    config, meta = (str(folder / "configs" / name) for name in ("inference.json", "metadata.json"))
    run(config_file=config, meta_file=meta, bundle_root=str(folder), dataset_dir=str(data), output_dir=str(out))
    return {path.name.removesuffix("_seg.nii.gz"): nibabel.load(path) for path in sorted(out.iterdir())}


def brats_coding(label):
    return np.array([0, 1, 2, 4])[label]


def calibrated_like_the_bundled(model):
    """Temperatures, and rules that have something to do in a random network's speckle."""
    network, card = model
    calibration = Calibration((1.0, 2.0, 1.5, 0.5), minimum_et_ml=1000.0, minimum_component_ml=0.02)
    return network, replace(card, calibration=calibration)


@pytest.mark.parametrize("config", [SMALL, PLAIN, *PEERS.values()], ids=["small", "plain", *PEERS])
def test_monai_runs_a_bundle_and_gets_our_label(config, a_case, tmp_path):
    pytest.importorskip("monai")
    pytest.importorskip("ignite", reason='needs pytorch-ignite (pip install "monai[ignite]")')
    model = calibrated_like_the_bundled(model_of(config))
    case = read_case(write_case(a_case, tmp_path / "data"))
    write_bundle(model, tmp_path / "bundle")
    (found,) = run_bundle(tmp_path / "bundle", tmp_path / "data", tmp_path / "out").values()
    expected = predict(case, model, PredictConfig(precision="float32", device="cpu"))
    label = np.asarray(found.dataobj)
    np.testing.assert_allclose(found.affine, case.affine, atol=1e-4)
    assert label.dtype == np.uint8
    assert (label != brats_coding(expected.label)).mean() < 1e-4
    assert len(np.unique(label)) > 1


@pytest.mark.parametrize(("sizes", "left"), [((3, 20), 20), ((3, 5), 5), ((), 0)])
def test_a_bundle_drops_small_parts_but_never_the_largest(sizes, left):
    """As ``remove_small_components``: of parts of these sizes in mm³, those below 10 go."""
    monai = pytest.importorskip("monai")
    (rule,) = rules_of(Calibration(minimum_component_ml=0.01))
    label = torch.zeros(1, 32, 8, 8)
    for row, size in enumerate(sizes):
        label[0, :size, 4 * row, 0] = 1 + row
    label = monai.data.MetaTensor(label, affine=torch.eye(4))
    step = monai.bundle.ConfigParser({"step": {**rule, "keys": "pred"}}).get_parsed_content("step")
    kept = step({"pred": label})["pred"]
    assert int((kept > 0).sum()) == left
    found, _ = remove_small_components(label[0].numpy().astype(np.uint8), np.eye(4), 0.01)
    np.testing.assert_array_equal(kept[0].numpy(), found)


def test_monai_runs_the_bundled_model_on_a_case_that_lies_otherwise(bundled, tmp_path):
    """Axes that are not RAS are turned for the network and back again."""
    pytest.importorskip("monai")
    pytest.importorskip("ignite", reason='needs pytorch-ignite (pip install "monai[ignite]")')
    # Seed 4: in a brain this small the network finds a tumour in some only.
    folder = write_case(simulate_case(4, shape=(48, 48, 32)), tmp_path / "data")
    for path in folder.glob("*.nii.gz"):
        image = nibabel.load(path).as_reoriented([[1, 1], [0, -1], [2, -1]])
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    case = read_case(folder)
    write_bundle(bundled, tmp_path / "bundle")
    found = run_bundle(tmp_path / "bundle", tmp_path / "data", tmp_path / "out")[folder.name]
    expected = predict(case, bundled, PredictConfig(precision="float32", device="cpu"))
    assert nibabel.aff2axcodes(found.affine) != ("R", "A", "S")
    assert expected.label.any()
    np.testing.assert_array_equal(np.asarray(found.dataobj), brats_coding(expected.label))


def test_monai_runs_the_bundled_model_on_a_real_case(bundled, real_data, tmp_path):
    pytest.importorskip("monai")
    pytest.importorskip("ignite", reason='needs pytorch-ignite (pip install "monai[ignite]")')
    folder = min(path for path in (real_data / "brats").iterdir() if path.is_dir())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / folder.name).symlink_to(folder)
    write_bundle(bundled, tmp_path / "bundle")
    found = run_bundle(tmp_path / "bundle", tmp_path / "data", tmp_path / "out")[folder.name]
    expected = predict(read_case(folder), bundled, PredictConfig(precision="float32", device="cpu"))
    differing = np.count_nonzero(np.asarray(found.dataobj) != brats_coding(expected.label))
    assert differing <= 1e-4 * np.count_nonzero(expected.label)


def test_the_network_of_a_bundle_is_as_its_metadata_say(tmp_path):
    bundle = pytest.importorskip("monai.bundle")
    network, card = model_of(PEERS["resunet"])
    write_bundle((network, card), tmp_path / "bundle")
    config, meta = (str(tmp_path / "bundle" / "configs" / name) for name in ("inference.json", "metadata.json"))
    place = {"bundle_root": str(tmp_path / "bundle"), "device": "cpu"}
    bundle.verify_net_in_out(net_id="network_def", config_file=config, meta_file=meta, n=3, **place)
    parser = bundle.ConfigParser()
    parser.read_config(config)
    parser.read_meta(meta)
    parser.update({"bundle_root": place["bundle_root"]})
    inferer = parser.get_parsed_content("inferer")
    images = torch.randn(1, 4, 48, 32, 32)
    with torch.inference_mode():
        found = inferer(images, parser.get_parsed_content("network_def"))
        inside = network(images[:, :, :32]).logits
    assert found.shape == (1, 4, 48, 32, 32)
    assert not torch.allclose(found[:, :, :32], inside, atol=TOLERANCE)  # windows are blended
    about = parser["_meta_"]
    assert about["network_data_format"]["inputs"]["image"]["channel_def"]["3"] == "FLAIR"
    assert "Research use only" in about["intended_use"]


def test_a_bundle_says_what_it_is_and_that_it_is_for_research(tmp_path):
    config = PEERS["neuroseg"]
    network, card = model_of(config)
    card = replace(card, training={"data": "brats", "citation": "Menze 2015"}, identity="0123456789abcdef")
    write_bundle((network, card), tmp_path / "bundle")
    page, licence = ((tmp_path / "bundle" / name).read_text() for name in ("docs/README.md", "LICENSE"))
    assert "Research use only" in page
    assert "Research use only" in licence
    assert "Menze 2015" in licence
    assert "whole tumour only" in page
    assert card.identity in page
    pickles = [path.name for path in (tmp_path / "bundle").rglob("*") if path.suffix in (".pt", ".pth", ".pkl")]
    assert pickles == []


# -- command line --------------------------------------------------------------------------------------------------


def test_a_bundle_from_the_command_line(tmp_path, capsys):
    model = save_small_model(tmp_path / "small.safetensors")
    out = tmp_path / "bundle"
    assert main(["export", "--model", str(model), "--format", "monai", "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == "small"
    assert said["largest_difference"] <= TOLERANCE
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {"configs/inference.json", "configs/metadata.json", "docs/README.md", "models/model.ts", "LICENSE"}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [("monai", "full", "already there"), ("onnx", "full", "is a folder"), ("onnx", "file/model.onnx", "is a file")],
)
def test_a_place_that_cannot_be_written_is_bad_input(kind, name, reason, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "file").touch()
    model = save_small_model(tmp_path / "small.safetensors")
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", "--model", str(model), "--format", kind, "--out", str(tmp_path / name)]) == 2
    assert reason in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_without_its_packages_onnx_says_which_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'pip install "protosegbrain\[export\]"'):
        write_onnx(model_of(SMALL), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
