"""The network over a whole volume: device, precision, windows, mirror averaging.

A network without statistics of the window (BatchNorm, no global pooling) gives the same in tiles as in one window.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.model import SegmentationNet

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Tile edge, without its margin, that is tried when the whole brain does not fit.
FALLBACK_TILE = 64
# Prototypes, last layer and calibration take the voxels by slices that the processor's cache holds: half the time of
# all at once.
SLICES_AT_ONCE = 4
# Of neighbouring windows, where logits are blended: the usual half.
OVERLAP = 0.5
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")


@dataclass(frozen=True)
class Attempt:
    """One way to run the network; ``tile`` None is the whole brain in one window."""

    device: torch.device
    precision: torch.dtype
    tile: int | None

    @property
    def name(self) -> str:
        """For the record: "cpu bfloat16"."""
        return f"{self.device.type} {_name(self.precision)}"

    def __str__(self) -> str:
        window = "the whole brain in one window" if self.tile is None else f"tiles of {self.tile} voxels"
        return f"{self.device.type} with {_name(self.precision)} and {window}"


def plan(device: Device, precision: Precision, tile: int | None) -> list[Attempt]:
    """The ways to run the network, from the wanted one to the least memory: half precision, tiles, CPU.

    Raises:
        ValueError: The wanted device is not there.
    """
    wanted = _device(device)
    native = half_precision_of(wanted)
    first = native if precision == "auto" else PRECISIONS[precision]
    least = native if first == torch.float32 else first
    attempts = [
        Attempt(wanted, first, tile),
        Attempt(wanted, least, tile),
        Attempt(wanted, least, min(tile or FALLBACK_TILE, FALLBACK_TILE)),
    ]
    if wanted.type != "cpu":
        cpu = torch.device("cpu")
        attempts += [Attempt(cpu, half_precision_of(cpu), edge) for edge in (None, FALLBACK_TILE)]
    return list(dict.fromkeys(attempts))


def half_precision_of(device: torch.device) -> torch.dtype:
    """The half precision that the processor computes natively, or float32 where it has none."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu":
        # oneDNN emulates bfloat16 elsewhere, which is slower than float32. torch has no public name for these.
        known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        if any(getattr(torch.cpu, name, bool)() for name in known):
            return torch.bfloat16
    return torch.float32


def at_native_precision(device: torch.device) -> torch.autocast:
    """A context in which a network computes in the half precision of ``half_precision_of``, if there is one."""
    return _at(half_precision_of(device), device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, its libraries or Python says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)


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
    with _at(precision, images.device):
        decoded = network.decoded(images[None])
    depth = SLICES_AT_ONCE if network.voxelwise else decoded.shape[-1]
    similarities, logits = (
        images.new_empty(n, *reversed(decoded.shape[2:]), dtype=torch.float32).permute(0, 3, 2, 1)
        for n in (len(network.prototype_class), len(CLASSES))
    )
    for start in range(0, decoded.shape[-1], depth):
        part = slice(start, start + depth)
        with _at(precision, images.device):
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
        with _at(precision, images.device):
            return network(window).logits.float()

    logits = sliding_window_inference(
        images[None].float(), (edge,) * 3, 1, logits_of, overlap=OVERLAP, mode="gaussian"
    )[0]
    return logits[:0], logits


def _at(precision: torch.dtype, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def _cut(array: Tensor, box: Sequence[slice]) -> Tensor:
    """A view of the part of (C, X, Y, Z) in a box."""
    return array[:, box[0], box[1], box[2]]


def _pad(images: Tensor, multiple: int) -> Tensor:
    """Zeros at the high ends, so that voxel 0 and with it the affine stay."""
    pads = [(0, -n % multiple) for n in reversed(images.shape[1:])]
    return torch.nn.functional.pad(images, [*itertools.chain(*pads)])


def _device(wanted: str) -> torch.device:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, is_there in present.items() if is_there))
    if not present[wanted]:
        raise ValueError(f"device {wanted!r} was asked for, but this machine has none that torch can use; try cpu.")
    return torch.device(wanted)


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")


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
