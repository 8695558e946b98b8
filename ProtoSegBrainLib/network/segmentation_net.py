"""What training, inference and explanation need of a network, ours or another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from ProtoSegBrainLib.labels import MODALITIES


class NetworkOutput(NamedTuple):
    """What one forward pass gives, all float32 on the grid of the logits; P is 0 for a network without prototypes."""

    logits: Tensor  # (B, K, x, y, z)
    similarities: Tensor  # (B, P, x, y, z)
    distances: Tensor  # (B, P, x, y, z), squared L2 on the unit sphere
    deep: tuple[Tensor, ...] = ()  # in training: logits of coarser decoder levels, for deep supervision


def without_prototypes(logits: Tensor, deep: tuple[Tensor, ...] = ()) -> NetworkOutput:
    """The output of a network that has no prototypes."""
    none = logits[:, :0]
    return NetworkOutput(logits, none, none, deep)


class SegmentationNet(nn.Module):
    """What training and inference need of a network: (B, 4, X, Y, Z) z-scored images -> class logits.

    ``forward`` is ``decide(decoded(x))``. What ``decide`` does is done voxel by voxel where ``voxelwise`` is true, so
    that it can take a part of the brain at a time.

    Attributes:
        stride: Voxels of the input per voxel of the logits.
        size_multiple: Input sizes must be multiples of this (pad with zeros).
        receptive_field: Voxels around a voxel of the logits that can change it, as a multiple of ``size_multiple``. A
            tile with this margin gives the whole brain's logits exactly, unless the network takes statistics of its
            window (a norm other than BatchNorm, global pooling).
        window: Edge in voxels of the windows of which a brain's logits are blended; None: they come at one go.
        voxelwise: See above.
    """

    stride: int
    size_multiple: int
    receptive_field: int
    window: int | None = None
    voxelwise = True

    @property
    def prototype_class(self) -> tuple[int, ...]:
        """Class index of each of the P prototypes; () where there are none."""
        return ()

    def decoded(self, x: Tensor) -> Tensor:
        """What the decision is made of: (B, 4, X, Y, Z) -> (B, D, x, y, z)."""
        raise NotImplementedError

    def decide(self, decoded: Tensor) -> NetworkOutput:
        """From what ``decoded`` gives, or from a part of it, to the output there."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> NetworkOutput:
        return self.decide(self.decoded(x))

    def teachable(self, truth: Tensor) -> Tensor:
        """The true shares (B, K, x, y, z), told apart as far as this network can."""
        return truth

    def check_size(self, x: Tensor) -> None:
        """Refuse images that the network cannot take.

        Raises:
            ValueError: Another number of modalities, or a size that is no multiple of ``size_multiple``.
        """
        if x.ndim != 5 or x.shape[1] != len(MODALITIES) or any(n % self.size_multiple for n in x.shape[2:]):
            raise ValueError(
                f"The network expects (B, {len(MODALITIES)}, X, Y, Z) with X, Y, Z multiples of {self.size_multiple}; "
                f"got {tuple(x.shape)}. Pad with zeros."
            )


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear, voxel centres kept (align_corners=False): (B, C, x, y, z) -> (B, C, *size)."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)
