"""The network over a whole volume: windows, mirror averaging, calibrated probabilities.

A network without statistics of the window (BatchNorm, no global pooling) gives the same in tiles as in one window.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.device import at_precision
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet

# Prototypes, last layer and calibration take the voxels by slices that the processor's cache holds: half the time of
# all at once.
SLICES_AT_ONCE = 4
# Of neighbouring windows, where logits are blended: the usual half.
OVERLAP = 0.5


def run_network(
    network: SegmentationNet, images: Tensor, precision: torch.dtype, *, tile: int | None = None, tta: bool = False
) -> tuple[Tensor, Tensor]:
    """Similarities (P, x, y, z) and logits (K, x, y, z), float32, on the prototype grid of the padded images.

    With ``tta`` the similarities of the brain and of its mirror image (axis 0, left-right) are averaged. The logits
    are linear in the similarities, so this averages the logits as well and their sum of contributions stays exact.

    Args:
        network: In evaluation mode, on the device of ``images``.
        images: (4, X, Y, Z); any size, padded here with zeros at the high ends.
        precision: Of the convolutions; the prototype and last layers are always float32.
        tile: Edge in voxels of the part that each window decides; None for one window.
        tta: Whether to average with the mirror image.
    """
    views = run_views(network, images, precision, tile=tile, tta=tta)
    return mean_of([similarities for similarities, _ in views]), mean_of([logits for _, logits in views])


def run_views(
    network: SegmentationNet, images: Tensor, precision: torch.dtype, *, tile: int | None = None, tta: bool = False
) -> list[tuple[Tensor, Tensor]]:
    """As ``run_network``, but each view on its own: as it is and, with ``tta``, mirrored; the latter turned back."""
    images = _pad(images.to(precision), network.size_multiple)  # the first convolution rounds them anyway
    views = [_windows(network, images, precision, tile)]
    if tta:
        similarities, logits = _windows(network, images.flip(1), precision, tile)
        views.append((similarities.flip(1), logits.flip(1)))
    return views


def run_embedding(network: ProtoSegNet, images: Tensor, precision: torch.dtype, *, tile: int | None = None) -> Tensor:
    """What is compared with the prototypes: unit vectors (C, x, y, z) float32 on the prototype grid of padded images.

    Arguments as of ``run_network``.
    """
    images = _pad(images.to(precision), network.size_multiple)
    size, stride = images.shape[1:], network.stride
    whole = images.new_empty(network.config.embedding_channels, *(n // stride for n in size), dtype=torch.float32)
    for core, window in tiles(size, tile or max(size), network.receptive_field, network.size_multiple):
        with at_precision(precision, images.device):
            part = network.embed(_cut(images, window)[None])[0]
        target = [slice(c.start // stride, c.stop // stride) for c in core]
        offsets = [(c.start - w.start) // stride for c, w in zip(core, window, strict=True)]
        source = [slice(o, o + t.stop - t.start) for o, t in zip(offsets, target, strict=True)]
        _cut(whole, target).copy_(_cut(part, source))
    return whole


def mean_of(views: Sequence[Tensor]) -> Tensor:
    """Mean over views; a single one is returned as it is."""
    return sum(views[1:], start=views[0]) / len(views) if len(views) > 1 else views[0]


def tiles(
    size: torch.Size | tuple[int, ...], tile: int, margin: int, multiple: int
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Cores that cover ``size`` once, each with its window: the core and ``margin`` voxels around, cut at the border.

    All edges lie on multiples of ``multiple``, so that a window pools over the same voxels as the whole.
    """
    step = -(-tile // multiple) * multiple
    margin = -(-margin // multiple) * multiple
    for corner in itertools.product(*(range(0, n, step) for n in size)):
        core = tuple(slice(c, min(c + step, n)) for c, n in zip(corner, size, strict=True))
        window = tuple(
            slice(max(0, c.start - margin), min(n, c.stop + margin)) for c, n in zip(core, size, strict=True)
        )
        yield core, window


def _windows(
    network: SegmentationNet, images: Tensor, precision: torch.dtype, tile: int | None
) -> tuple[Tensor, Tensor]:
    """Similarities and logits of padded images, in one window or in tiles with the margin that makes them equal."""
    if network.window is not None:
        return _blended_windows(network, images, precision, min(network.window, tile or network.window))
    if tile is None or tile >= max(images.shape[1:]):
        return _window(network, images, precision)
    stride = network.stride
    counts = (len(network.prototype_class), len(CLASSES))
    size = [n // stride for n in images.shape[1:]]
    whole = tuple(images.new_empty(n, *size, dtype=torch.float32) for n in counts)
    for core, window in tiles(images.shape[1:], tile, network.receptive_field, network.size_multiple):
        parts = _window(network, _cut(images, window), precision)
        target = [slice(c.start // stride, c.stop // stride) for c in core]
        source = [
            slice((c.start - w.start) // stride, (c.stop - w.start) // stride)
            for c, w in zip(core, window, strict=True)
        ]
        for result, part in zip(whole, parts, strict=True):
            _cut(result, target).copy_(_cut(part, source))
    return whole[0], whole[1]


def _window(network: SegmentationNet, images: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Similarities and logits of one window, x fastest in memory: the order of the files."""
    with at_precision(precision, images.device):
        decoded = network.decoded(images[None])
    depth = SLICES_AT_ONCE if network.voxelwise else decoded.shape[-1]
    similarities, logits = (
        images.new_empty(n, *reversed(decoded.shape[2:]), dtype=torch.float32).permute(0, 3, 2, 1)
        for n in (len(network.prototype_class), len(CLASSES))
    )
    for start in range(0, decoded.shape[-1], depth):
        part = slice(start, start + depth)
        with at_precision(precision, images.device):
            output = network.decide(decoded[..., part].contiguous(memory_format=torch.channels_last_3d))
        similarities[..., part] = output.similarities[0]
        logits[..., part] = output.logits[0]
    return similarities, logits


def _blended_windows(
    network: SegmentationNet, images: Tensor, precision: torch.dtype, edge: int
) -> tuple[Tensor, Tensor]:
    """Logits of overlapping windows, weighted towards each window's centre: what such networks are trained for.

    A network that takes statistics of its window must meet windows of the size it has seen (no prototypes here).
    """
    from monai.inferers import sliding_window_inference

    def logits_of(window: Tensor) -> Tensor:
        with at_precision(precision, images.device):
            return network(window).logits.float()

    logits = sliding_window_inference(
        images[None].float(), (edge,) * 3, 1, logits_of, overlap=OVERLAP, mode="gaussian"
    )[0]
    return logits[:0], logits


def _cut(array: Tensor, box: Sequence[slice]) -> Tensor:
    """A view of the part of (C, X, Y, Z) in a box."""
    return array[:, box[0], box[1], box[2]]


def _pad(images: Tensor, multiple: int) -> Tensor:
    """Zeros at the high ends, so that voxel 0 and with it the affine stay."""
    pads = [(0, -n % multiple) for n in reversed(images.shape[1:])]
    return torch.nn.functional.pad(images, [*itertools.chain(*pads)])


def calibrated(logits: Tensor, temperature: tuple[float, ...]) -> Tensor:
    """Softmax of (K, ...) logits divided by the temperature of the class that leads: the label stays what it was."""
    if len(set(temperature)) == 1:
        return (logits / temperature[0]).softmax(dim=0)
    # As argmax, which takes longer over few classes than the whole network.
    largest = logits[0].clone()
    slope = torch.full_like(largest, 1 / temperature[0])
    for values, divisor in zip(logits[1:], temperature[1:], strict=True):
        slope.masked_fill_(values > largest, 1 / divisor)
        torch.maximum(largest, values, out=largest)
    return (logits * slope).softmax(dim=0)


Net = TypeVar("Net", bound=nn.Module)


def fuse_for_inference(network: Net) -> Net:
    """A copy in evaluation mode whose BatchNorms are folded into the convolutions before them; other norms stay."""
    fused = copy.deepcopy(network).eval()
    for module in list(fused.modules()):
        if isinstance(module, nn.Sequential):
            _fold_batch_norms(module)
    return fused


def _fold_batch_norms(sequence: nn.Sequential) -> None:
    for name, following in zip(list(sequence._modules), list(sequence._modules)[1:], strict=False):
        conv, norm = sequence._modules[name], sequence._modules[following]
        if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
            sequence._modules[name] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
            sequence._modules[following] = nn.Identity()
