"""A bundle is run by MONAI, and gives what this library gives."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from models_of_every_kind import PEERS, model_of
from small_model import PLAIN, SMALL

from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.network.networks import build_network
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict
from ProtoSegBrainLib.sharing.bundle import write_bundle
from ProtoSegBrainLib.sharing.export import TOLERANCE
from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case


@pytest.fixture(scope="module")
def bundled():
    return load_model()


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


def test_monai_runs_the_bundled_model_on_a_case_that_lies_otherwise(bundled, tmp_path):
    """Axes that are not RAS are turned for the network and back again."""
    pytest.importorskip("monai")
    pytest.importorskip("ignite", reason='needs pytorch-ignite (pip install "monai[ignite]")')
    # Seed 1: in a brain this small the network finds a tumour in some only.
    folder = write_case(simulate_case(1, shape=(52, 52, 52)), tmp_path / "data")
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
