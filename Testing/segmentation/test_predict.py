from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from random_network import NARROW, seeing_every_class
from torch import Tensor, nn

from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.network import device
from ProtoSegBrainLib.network.calibration import Calibration, Familiarity, Normality
from ProtoSegBrainLib.network.device import Attempt
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.segmentation_net import NetworkOutput, upsample
from ProtoSegBrainLib.network.weights import ModelCard
from ProtoSegBrainLib.result.familiarity import look_of
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.prediction_files import read_prediction, write_prediction
from ProtoSegBrainLib.segmentation import predict as module
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT = PredictConfig(device="cpu", precision="float32")


@pytest.fixture
def a_network() -> ProtoSegNet:
    return seeing_every_class()


@pytest.fixture
def a_model(a_network: ProtoSegNet) -> tuple[ProtoSegNet, ModelCard]:
    return a_network, ModelCard("test", NARROW, calibration=Calibration((1.0, 1.05, 0.98, 1.03)))


@pytest.fixture
def a_brain(rng: np.random.Generator) -> Case:
    """Noise in an off-centre ellipsoid, 1 mm, RAS; odd sizes, so that the network's grid has to be padded."""
    i, j, k = np.indices((27, 30, 25))
    brain = ((i - 12) / 9) ** 2 + ((j - 16) / 11) ** 2 + ((k - 11) / 8) ** 2 < 1
    images = (rng.normal(100, 20, (4, *brain.shape)) * brain).astype(np.float32)
    affine = np.eye(4)
    affine[:3, 3] = (-20, 5, 11)
    return Case("a_brain", images, affine)


class BrightIsEnhancing(nn.Module):
    """A network whose answer is known: ET where T1ce is bright, with one similarity map that is T1ce itself."""

    size_multiple, stride, prototype_class, receptive_field = 4, 2, (0, 3), 4
    config, window, voxelwise, prototype_stride = NARROW, None, True, 2

    def __init__(self) -> None:
        super().__init__()
        self.last_layer = nn.Linear(2, 4)  # only its weight and bias are looked at
        self.last_layer.weight.data = torch.tensor([[1.0, 0], [0, 0], [0, 0], [0, 5]])
        self.last_layer.bias.data = torch.tensor([0.0, -100, -100, -5.65])

    def decoded(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool3d(x[:, 1:2], 2)

    def decide(self, pooled: Tensor) -> NetworkOutput:
        similarities = torch.cat([torch.ones_like(pooled), pooled], 1)
        logits = self.last_layer(similarities.movedim(1, -1)).movedim(-1, 1)
        return NetworkOutput(logits, similarities, similarities)


@pytest.fixture
def a_known_model(monkeypatch: pytest.MonkeyPatch) -> tuple[BrightIsEnhancing, ModelCard]:
    monkeypatch.setattr(module, "fuse_for_inference", lambda network: network)
    return BrightIsEnhancing(), ModelCard("known", NARROW)


def ball_case(affine: np.ndarray, shape: tuple[int, int, int], radius_mm: float = 12) -> tuple[Case, np.ndarray]:
    """A ball of bright T1ce, off the centre of a round brain, both given in mm; returns the ball as well."""
    index = np.stack([*np.indices(shape), np.ones(shape)])
    position = np.tensordot(affine, index, axes=1)[:3]
    centre = (affine @ [*(np.array(shape) / 2), 1])[:3, None, None, None]
    brain = np.linalg.norm(position - centre, axis=0) < 26
    ball = np.linalg.norm(position - centre - np.array([6, -5, 4])[:, None, None, None], axis=0) < radius_mm
    images = np.where(brain, 100.0, 0) * np.ones((4, 1, 1, 1)) + np.where(ball, 100.0, 0)
    images[:, ::2] += np.where(brain, 1.0, 0)[::2]
    return Case("ball", images.astype(np.float32), affine), ball


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x, about_z = np.eye(4), np.eye(4)
    about_x[1:3, 1:3] = about_z[:2, :2] = [[c, -s], [s, c]]
    return about_x @ about_z


GEOMETRIES = {
    "plain": (np.diag([1.0, 1, 1, 1]), (60, 62, 58)),
    "flipped": (np.diag([-1.0, -1, 1, 1]), (60, 62, 58)),
    "turned axes": (np.array([[0, 0, 1.0, 3], [-1, 0, 0, 9], [0, -1, 0, 2], [0, 0, 0, 1]]), (60, 62, 58)),
    "anisotropic": (np.diag([-0.8, 1.0, 2.5, 1]), (76, 60, 26)),
    "oblique": (rotation(20), (66, 66, 66)),
    "oblique and anisotropic": (rotation(17) @ np.diag([1.0, -1.2, 2.0, 1]), (66, 55, 34)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_tumour_comes_back_where_it_is(name: str, a_known_model: tuple[ProtoSegNet, ModelCard]) -> None:
    affine, shape = GEOMETRIES[name]
    affine = affine.copy()
    affine[:3, 3] += (-31.5, 12.25, 40)
    case, ball = ball_case(affine, shape)
    prediction = predict(case, a_known_model, EXACT)
    assert prediction.label.shape == ball.shape
    np.testing.assert_array_equal(prediction.affine, affine)
    assert dice(ball, prediction.label == 3) > 0.94
    # The similarity maps have an affine of their own: the ball's centre of mass is the same in mm.
    sims = prediction.similarities[1].clip(1) - 1
    centre = np.average(np.argwhere(sims > -1), axis=0, weights=sims.ravel())
    expected = (affine @ [*np.argwhere(ball).mean(axis=0), 1])[:3]
    np.testing.assert_allclose((prediction.similarity_affine @ [*centre, 1])[:3], expected, atol=0.3)


def test_every_axis_order_and_flip_gives_the_same(a_brain: Case, a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    straight = predict(a_brain, a_model, EXACT)
    assert len(np.unique(straight.label)) >= 3, "the network of this test must see several classes"
    for order, flips in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        steps = tuple(slice(None, None, flip) for flip in flips)
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        for new, old in enumerate(order):
            to_old[old, new] = flips[old]
            to_old[old, 3] = 0 if flips[old] == 1 else a_brain.images.shape[1 + old] - 1
        images = a_brain.images[(slice(None), *steps)].transpose(0, *(1 + axis for axis in order))
        turned = predict(replace(a_brain, images=images, affine=a_brain.affine @ to_old), a_model, EXACT)
        expected = straight.label[steps].transpose(order)
        np.testing.assert_array_equal(turned.label, expected, err_msg=f"axes {order}, flips {flips}")


def test_what_is_written_explains_the_probabilities(
    a_brain: Case, a_model: tuple[ProtoSegNet, ModelCard], tmp_path: Path
) -> None:
    _, card = a_model
    write_prediction(predict(a_brain, a_model, replace(EXACT, tta=True)), tmp_path)
    written = read_prediction(tmp_path)
    with torch.no_grad():
        logits = torch.from_numpy(written.evidence.logits(written.similarities))[None]
        whole = upsample(logits, [2 * n for n in logits.shape[2:]])[0]
        leader = torch.tensor(card.calibration.temperature)[whole.argmax(dim=0)]
        expected = (whole / leader).softmax(0).numpy()
    network_input = prepare(a_brain)
    corner = np.rint(network_input.affine[:3, 3] - a_brain.affine[:3, 3]).astype(int)
    box = tuple(slice(c, c + n) for c, n in zip(corner, network_input.brain.shape, strict=True))
    brain = network_input.brain
    found = written.probabilities[(slice(None), *box)][:, brain]
    expected = expected[(slice(None), *map(slice, brain.shape))][:, brain]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    outside = (a_brain.images == 0).all(axis=0)
    np.testing.assert_array_equal(written.probabilities[0] == 1, outside)
    np.testing.assert_array_equal(written.label, written.probabilities.argmax(axis=0))
    assert written.disagreement is not None
    assert not written.disagreement[outside].any()
    assert written.disagreement.max() > 0.05


def test_one_view_has_no_disagreement_and_the_images_a_look(
    a_brain: Case, a_model: tuple[ProtoSegNet, ModelCard]
) -> None:
    plain = predict(a_brain, a_model, EXACT)
    assert plain.disagreement is None
    assert plain.look == look_of(prepare(a_brain).images)


def test_small_enhancement_becomes_necrosis(a_brain: Case, a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    network, card = a_model
    kept = predict(a_brain, a_model, EXACT)
    volume = kept.volumes_ml["ET"]
    assert volume > 0
    strict = ModelCard("strict", NARROW, calibration=Calibration(card.calibration.temperature, 1.01 * volume))
    changed = predict(a_brain, (network, strict), EXACT)
    np.testing.assert_array_equal(changed.label, np.where(kept.label == 3, 1, kept.label))
    np.testing.assert_array_equal(changed.probabilities, kept.probabilities)
    assert changed.volumes_ml["ET"] == 0
    assert changed.volumes_ml["TC"] == pytest.approx(kept.volumes_ml["TC"])
    assert changed.warnings[-1].startswith("Relabelled: ")
    assert not kept.warnings


def fail_unless(allowed: Attempt | None, error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[Attempt]:
    """Let every attempt but one fail; returns the list in which the attempts are recorded."""
    run, seen = module._run, []

    def fake(attempt: Attempt, *args: object) -> object:
        seen.append(attempt)
        if attempt != allowed:
            raise error
        return run(attempt, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_run", fake)
    monkeypatch.setattr(device, "half_precision_of", lambda _: torch.bfloat16)
    return seen


CPU = torch.device("cpu")
STEPS = [
    Attempt(CPU, torch.float32, None),
    Attempt(CPU, torch.bfloat16, None),
    Attempt(CPU, torch.bfloat16, 64),
]


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_out_of_memory_steps_down_with_a_sentence(
    step: int,
    error: Exception,
    a_brain: Case,
    a_model: tuple[ProtoSegNet, ModelCard],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = fail_unless(STEPS[step], error, monkeypatch)
    prediction = predict(a_brain, a_model, EXACT)
    assert seen == STEPS[: step + 1]
    assert prediction.device == "cpu bfloat16"
    assert len(prediction.warnings) == step
    assert "Out of memory on cpu with float32" in prediction.warnings[0]


def test_out_of_memory_everywhere_and_other_errors_are_raised(
    a_brain: Case, a_model: tuple[ProtoSegNet, ModelCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = fail_unless(None, torch.OutOfMemoryError("out of memory"), monkeypatch)
    with pytest.raises(MemoryError, match="a_brain"):
        predict(a_brain, a_model, EXACT)
    assert seen == STEPS
    fail_unless(None, RuntimeError("shapes differ"), monkeypatch)
    with pytest.raises(RuntimeError, match="shapes differ"):
        predict(a_brain, a_model, EXACT)


@pytest.mark.parametrize("wrong", [{"device": "tpu"}, {"precision": "int8"}, {"tile": 0}])
def test_bad_config_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PredictConfig(**wrong)  # type: ignore[arg-type]


def test_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch, a_brain: Case) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda"):
        predict(a_brain, None, PredictConfig(device="cuda"))


def test_nothing_of_the_caller_is_changed(a_brain: Case, a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    images, state = a_brain.images.copy(), {k: v.clone() for k, v in a_model[0].state_dict().items()}
    fractions: list[float] = []
    predict(replace(a_brain, warnings=("Look.",)), a_model, EXACT, lambda fraction, _: fractions.append(fraction))
    np.testing.assert_array_equal(a_brain.images, images)
    assert all(torch.equal(value, state[name]) for name, value in a_model[0].state_dict().items())
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_a_real_case_keeps_its_grid(real_data: Path, a_model: tuple[ProtoSegNet, ModelCard], tmp_path: Path) -> None:
    case = read_case(next((real_data / "original_format").iterdir()), with_label=False)
    prediction: Prediction = predict(case, a_model, EXACT)
    files = write_prediction(prediction, tmp_path)
    reference = nib.load(case.files["t1c"])
    for kind in ("seg", "prob"):
        image = nib.load(files[kind])
        assert image.shape[:3] == reference.shape
        np.testing.assert_array_equal(image.affine, reference.affine)
    assert list(prediction.timings_s) == ["prepare", "network", "to_reference", "findings"]


def test_a_scan_unlike_the_training_data_is_warned_of_before_all_else(
    a_network: ProtoSegNet, a_model: tuple[ProtoSegNet, ModelCard], a_brain: Case
) -> None:
    assert predict(a_brain, a_model, EXACT).warnings == ()
    large = Normality(("brain_ml",), (7.0,), (0.1,), ((1.0,),), 1.0)  # e^7 ml
    any_share = Normality(("tumour_share",), (0.0,), (1e6,), ((1.0,),), 1.0)
    card = replace(a_model[1], calibration=Calibration(familiarity=Familiarity(large, any_share, 30)))
    case = replace(a_brain, warnings=("T1 is noisy.",))
    first, second = predict(case, (a_network, card), EXACT).warnings
    assert re.match(r"This result is probably poor: the brain of \d+ ml is small", first)
    assert second == "T1 is noisy."
