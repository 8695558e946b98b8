"""What the networks of this project are built of: convolutions with their norm, and the backbone's blocks."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def _batch_norm(channels: int) -> nn.Module:
    # 0.03: a batch holds few cases, so the running statistics must average over many steps.
    return nn.BatchNorm3d(channels, momentum=0.03)


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm3d(channels, affine=True)


NORMS = {"batch": _batch_norm, "group": _group_norm, "instance": _instance_norm}


class ConvNormAct(nn.Sequential):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, norm: str, *, size: int = 3, stride: int = 1, rate: int = 1, groups: int = 1
    ) -> None:
        padding = 0 if size == stride else rate * (size // 2)
        super().__init__(
            nn.Conv3d(inputs, outputs, size, stride, padding, rate, groups, bias=False),
            NORMS[norm](outputs),
            nn.ReLU(inplace=True),
        )


class Stem(nn.Module):
    """First convolution, after moving each 2x2x2 block of voxels into channels when the stride is 2.

    Space-to-depth keeps the centre of an output voxel at the centre of its block (no half-voxel shift, which a
    strided 3x3x3 convolution has) and gives the matrix units full channels to work on.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.stride = stride
        self.conv = ConvNormAct(inputs * stride**3, outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(_space_to_depth(x, self.stride) if self.stride > 1 else x)


def _space_to_depth(x: Tensor, s: int) -> Tensor:
    """(B, C, X, Y, Z) -> (B, s*s*s*C, X/s, Y/s, Z/s), channels last in memory."""
    parts = [x[..., i::s, j::s, k::s].movedim(1, -1) for i, j, k in itertools.product(range(s), repeat=3)]
    return torch.cat(parts, dim=-1).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions around an identity (He et al. 2016)."""

    radius = 2

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.first = ConvNormAct(channels, channels, norm)
        self.second = nn.Sequential(nn.Conv3d(channels, channels, 3, padding=1, bias=False), NORMS[norm](channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)), inplace=True)


class PlainBlock(nn.Sequential):
    """Two 3x3x3 convolutions without a shortcut."""

    radius = 2

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__(ConvNormAct(channels, channels, norm), ConvNormAct(channels, channels, norm))


class SeparableBlock(nn.Module):
    """Inverted residual: expand, depthwise 3x3x3, project (Tan and Le 2019, without squeeze-and-excitation).

    Squeeze-and-excitation pools over the window, so a tile would no longer give the whole brain's logits.
    """

    radius = 1
    expansion = 4

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        wide = channels * self.expansion
        self.body = nn.Sequential(
            ConvNormAct(channels, wide, norm, size=1),
            ConvNormAct(wide, wide, norm, groups=wide),
            nn.Conv3d(wide, channels, 1, bias=False),
            NORMS[norm](channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


BLOCKS: dict[str, type[ResidualBlock | PlainBlock | SeparableBlock]] = {
    "resnet": ResidualBlock,
    "plain": PlainBlock,
    "efficient": SeparableBlock,
}


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1x1 convolution as a matrix product over channels-last memory: (B, C, x, y, z) -> (B, D, x, y, z)."""
    return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)
