"""Cases that fared well and badly, for the pictures of them."""

from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.evaluation.agreement import Agreement


@pytest.fixture
def agreements() -> list[Agreement]:
    """Four cases, one of them without enhancing tumour, in no order."""
    return [agreement("good", 90), agreement("bad", 2), agreement("perfect", 100), agreement("no_et", 50, et=0)]


def agreement(case_id: str, found: int, et: int = 10) -> Agreement:
    """100 ml of oedema and some of ET, of which so many ml of each are found, the rest taken for background."""
    voxels = np.zeros((4, 4), np.int64)
    voxels[0, 0] = 1000
    for index, true in ((2, 100), (3, et)):
        voxels[index, index] = min(found, true)
        voxels[index, 0] = true - min(found, true)
    return Agreement(case_id, voxels, 1.0, 1)


@pytest.fixture
def empty() -> Agreement:
    """A case without any tumour, true or found."""
    return Agreement("empty", np.diag([10, 0, 0, 0]), 0.001, 0)
