"""What holds for every network: sizes it takes, the way to the images' grid."""

from __future__ import annotations

import pytest
import torch
from random_network import make

from ProtoSegBrainLib.network.segmentation_net import upsample

pytestmark = pytest.mark.usefixtures("one_thread")


def test_upsample_puts_prototype_voxel_k_at_2k_and_a_half() -> None:
    ramp = (2 * torch.arange(6.0) + 0.5).reshape(1, 1, 6, 1, 1).expand(1, 1, 6, 4, 4)
    whole = upsample(ramp, (12, 8, 8))
    assert whole[0, 0, 1:-1, 3, 3].tolist() == pytest.approx(list(range(1, 11)))
    assert upsample(ramp, (6, 4, 4)) is ramp


@pytest.mark.parametrize("shape", [(1, 4, 8, 8, 6), (1, 3, 8, 8, 8), (4, 8, 8, 8)])
def test_wrong_input_sizes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 4; got \("):
        make()(torch.zeros(shape))
