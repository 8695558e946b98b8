"""deepbet (Fisch et al., Computers in Biology and Medicine 2024): light and quick, for T1 and T1ce.

From the package ``deepbet`` (10 MB, MIT) come the two networks, in TorchScript: one finds the box of the brain, the
other the brain in it. The rest is left alone, and need not be importable: it asks for graphical toolkits.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.images.volume import Volume, canonical, largest_part, resample

PACKAGE = "deepbet"
BOX_FILE, BRAIN_FILE = "bbox_model.pt", "model.pt"
BOX_EDGE, BRAIN_EDGE = 128, 256
MARGIN = 0.1
"""Left around the brain's box, as a share of it."""
LEAST_SHARE = 0.02
"""Of a plane that is brain; those with less are left out of the box."""
MEAN, DEVIATION = 0.449, 0.226
"""Of the images that it was trained on."""


def is_installed() -> bool:
    """Whether pip has put its networks somewhere."""
    folder = _folder()
    return folder is not None and all((folder / name).is_file() for name in (BOX_FILE, BRAIN_FILE))


@torch.inference_mode()
def brain_probability(image: Volume) -> np.ndarray:
    """How probably each voxel is brain: (X, Y, Z) float32, 0 to 1, on the grid of the image.

    Args:
        image: A head, (X, Y, Z) float32, 0 at its 0.5th percentile and 1 at its 99.5th.
    """
    upright = canonical(image)
    whole = torch.from_numpy(np.ascontiguousarray(upright.array, np.float32))
    coarse = _resized(whole, (BOX_EDGE,) * 3)
    box = _box(largest_part(_network(BOX_FILE)(_normal(coarse))[0, 1].numpy() > 0.5), upright.shape)
    inside = _network(BRAIN_FILE)(_normal(_resized(whole[box], (BRAIN_EDGE,) * 3)))[0, 1]
    probability = np.zeros(upright.shape, np.float32)
    probability[box] = _resized(inside, tuple(whole[box].shape)).numpy()
    return resample(Volume(probability, upright.affine), image.shape, image.affine, order=1).array


def _folder() -> Path | None:
    """Where the package looks for its networks: in a folder beside its own."""
    spec = importlib.util.find_spec(PACKAGE)
    return Path(spec.origin).parents[1] / "data" / "models" if spec is not None and spec.origin else None


def _network(name: str) -> Any:
    folder = _folder()
    if folder is None:
        raise ImportError(f"{PACKAGE} is not installed.")
    return torch.jit.load(str(folder / name), map_location="cpu").eval()


def _resized(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    return F.interpolate(array[None, None], shape, mode="nearest-exact")[0, 0]


def _normal(array: Tensor) -> Tensor:
    return (DEVIATION * (array - array.mean()) / array.std().clamp(min=1e-12) + MEAN)[None, None]


def _box(brain: np.ndarray, shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """Of a brain found on the coarse grid, on a grid of this shape; the whole where there is none."""
    parts = []
    for axis, (n, coarse_n) in enumerate(zip(shape, brain.shape, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(brain.mean(axis=others) > LEAST_SHARE)
        if not planes.size:
            return tuple(slice(0, each) for each in shape)
        low, high = planes[0] / coarse_n, (planes[-1] + 1) / coarse_n
        margin = MARGIN * (high - low)
        parts.append(slice(max(0, round((low - margin) * n)), min(n, round((high + margin) * n))))
    return tuple(parts)
