"""deepbet's way from a head to a probability on its grid; its networks by one that thresholds."""

import nibabel as nib
import numpy as np
import pytest
import torch
from small_case import AFFINE, BRAIN, SHAPE

from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.preparation import deepbet as module
from ProtoSegBrainLib.preparation.deepbet import brain_probability, is_installed


@pytest.fixture
def windows(monkeypatch) -> list[torch.Tensor]:
    """What the networks were shown; they take for brain what is bright."""
    seen = []

    def network(window):
        seen.append(window)
        bright = (window > (window.min() + window.max()) / 2).float()
        return torch.cat([1 - bright, bright], dim=1)

    monkeypatch.setattr(module, "_network", lambda _: network)
    monkeypatch.setattr(module, "BOX_EDGE", 32)
    monkeypatch.setattr(module, "BRAIN_EDGE", 64)
    return seen


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, 1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_the_brain_is_found_in_any_geometry(order, flips, windows):
    orientation = np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)])
    brain = nib.orientations.apply_orientation(BRAIN, orientation)
    affine = AFFINE @ nib.orientations.inv_ornt_aff(orientation, SHAPE)
    probability = brain_probability(Volume(brain.astype(np.float32), affine))
    assert probability.dtype == np.float32
    assert ((probability > 0.5) == brain).all()
    assert [tuple(each.shape) for each in windows] == [(1, 1, 32, 32, 32), (1, 1, 64, 64, 64)]
    box = windows[1][0, 0]
    assert (box > box.mean()).float().mean() > 0.3  # the second sees the brain near


def test_where_the_first_finds_nothing_the_second_sees_all(windows):
    probability = brain_probability(Volume(np.zeros(SHAPE, np.float32), AFFINE))
    assert probability.shape == SHAPE
    assert len(windows) == 2


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(module, "PACKAGE", "there_is_no_such_package")
    assert not is_installed()
    with pytest.raises(ImportError, match="there_is_no_such_package"):
        module._network(module.BOX_FILE)
