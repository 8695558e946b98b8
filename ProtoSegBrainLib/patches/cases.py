"""Labelled cases, each prepared once, kept on the device (GPU) or memory-mapped (CPU).

What is asked of them, whole or in patches: windows for a network, the label on its grids, where a voxel lies.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.checks import sentences_of
from ProtoSegBrainLib.images.folders import CaseFiles, list_cases
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.progress import Progress

logger = logging.getLogger(__name__)

VOXELS_KEPT_PER_CLASS = 20_000


@dataclass(frozen=True)
class TrainingCase:
    """One prepared case on the network's grid.

    Attributes:
        case_id: Of the case.
        images: (4, X, Y, Z) float16, on the device or memory-mapped.
        label: (X, Y, Z) uint8.
        affine: Voxel of this grid -> RAS mm.
        voxels: Up to 20,000 voxels of each class that is present, (n, 3), by class index.
        warnings: What a user should know of its files.
    """

    case_id: str
    images: Tensor
    label: Tensor
    affine: np.ndarray
    voxels: dict[int, np.ndarray]
    warnings: tuple[str, ...] = ()


def prepare_data(
    data: Path,
    case_ids: Sequence[str],
    cache: Path,
    device: str = "cpu",
    on_progress: Progress | None = None,
    *,
    reading: Reading | None = None,
) -> list[TrainingCase]:
    """Read, prepare and cache the cases; a second call finds in ``cache`` those that were read in the same way.

    A modality without a file is 0 everywhere, as dropout leaves it. Warnings are said once for all cases, in the log.

    Raises:
        FileNotFoundError: A case of ``case_ids`` is not in ``data``.
        ValueError: A case cannot be read or has no label; the message names it.
    """
    reading = reading or Reading()
    listed = {case.case_id: case for case in list_cases(data)}
    missing = [case_id for case_id in case_ids if case_id not in listed]
    if missing:
        raise FileNotFoundError(f"{data} lacks {len(missing)} of the {len(case_ids)} cases asked for: {missing[:3]} …")
    cache.mkdir(parents=True, exist_ok=True)
    cases = []
    for number, case_id in enumerate(case_ids):
        if not _is_cached(case_id, cache, reading):
            _write_cache(listed[case_id], cache, reading)
        cases.append(_load_cached(case_id, cache, device))
        if on_progress:
            on_progress((number + 1) / len(case_ids), f"Preparing {case_id}")
    for sentence in sentences_of({case.case_id: case.warnings for case in cases}):
        logger.warning("%s", sentence)
    return cases


def in_memory(case: Case) -> TrainingCase:
    """A case prepared without a cache, on the CPU; a case without a label counts as all background."""
    network_input = prepare(case)
    label = network_input.label
    label = np.zeros(network_input.brain.shape, np.uint8) if label is None else np.ascontiguousarray(label)
    images = torch.from_numpy(network_input.images.astype(np.float16))
    return TrainingCase(case.case_id, images, torch.from_numpy(label), network_input.affine, _some_voxels(label))


def _is_cached(case_id: str, cache: Path, reading: Reading) -> bool:
    try:
        found = json.loads((cache / f"{case_id}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(found.get("reading", asdict(Reading())) == asdict(reading))


def _write_cache(files: CaseFiles, cache: Path, reading: Reading) -> None:
    case_id = files.case_id
    try:
        case = read_case(files, may_lack=True, reading=reading)
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"Case {case_id}: {error}") from error
    if case.label is None:
        raise ValueError(f"Case {case_id} in {files.place} has no label file; training needs one (…_seg.nii.gz).")
    network_input = prepare(case)
    about = {"affine": network_input.affine.tolist(), "reading": asdict(reading), "warnings": case.warnings}
    _store(case_id, network_input.images.astype(np.float16), np.asarray(network_input.label), about, cache)


def cached(case_id: str, cache: Path, make: Callable[[], TrainingCase], device: str = "cpu") -> TrainingCase:
    """A case that ``make`` makes of others, once for all trainings that share the cache."""
    if not (cache / f"{case_id}.json").exists():
        made = make()
        cache.mkdir(parents=True, exist_ok=True)
        _store(case_id, made.images.numpy(), made.label.numpy(), {"affine": made.affine.tolist()}, cache)
    return _load_cached(case_id, cache, device)


def _store(case_id: str, images: np.ndarray, label: np.ndarray, about: Mapping[str, Any], cache: Path) -> None:
    _save(cache / f"{case_id}_images.npy", images)
    _save(cache / f"{case_id}_label.npy", label)
    # Written last and at one go: its presence says that the arrays are whole, to trainings that share the cache, too.
    write_whole(cache / f"{case_id}.json", json.dumps(about))


def _save(path: Path, array: np.ndarray) -> None:
    # A name of its own: the processes of one training may prepare the same case at the same time.
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    with temporary.open("wb") as file:
        np.save(file, array)
    os.replace(temporary, path)


def _load_cached(case_id: str, cache: Path, device: str) -> TrainingCase:
    # "c": torch wants writable memory; nothing is written back.
    images = torch.from_numpy(np.load(cache / f"{case_id}_images.npy", mmap_mode="c"))
    label = np.load(cache / f"{case_id}_label.npy")
    about = json.loads((cache / f"{case_id}.json").read_text(encoding="utf-8"))
    on_device = images if device == "cpu" else images.to(device)
    on_label, warnings = torch.from_numpy(label).to(device), tuple(about.get("warnings", ()))
    return TrainingCase(case_id, on_device, on_label, np.asarray(about["affine"]), _some_voxels(label), warnings)


def _some_voxels(label: np.ndarray) -> dict[int, np.ndarray]:
    """Up to 20,000 voxels of each tumour class that is present, drawn at random."""
    rng = np.random.default_rng(0)
    voxels = {}
    for index in range(1, len(CLASSES)):
        flat = np.flatnonzero(label == index)
        if flat.size:
            chosen = rng.choice(flat, min(flat.size, VOXELS_KEPT_PER_CLASS), replace=False)
            voxels[index] = np.stack(np.unravel_index(chosen, label.shape), axis=1)
    return voxels


def whole_window(case: TrainingCase, size_multiple: int) -> Tensor:
    """The whole case as one network window: (1, 4, X, Y, Z) float32, zero-padded at the far ends."""
    padding = [p for n in reversed(case.label.shape) for p in (0, -n % size_multiple)]
    return F.pad(case.images.float(), padding)[None]


def padded_label(case: TrainingCase, window: Tensor) -> Tensor:
    """(1, X, Y, Z) int64, padded as ``window`` is, with -1: what lies outside the case is a patch of no class."""
    sizes = zip(reversed(window.shape[2:]), reversed(case.label.shape), strict=True)
    return F.pad(case.label.long(), [p for a, b in sizes for p in (0, a - b)], value=-1)[None]


def brain_label(images: Tensor, label: Tensor) -> Tensor:
    """The label with -1, no class, outside the brain: a prototype of air would explain nothing.

    Args:
        images: (B, 4, X, Y, Z), 0 outside the brain.
        label: (B, X, Y, Z) integer classes.
    """
    return torch.where((images != 0).any(dim=1), label, -1)


def class_shares(label: Tensor, stride: int) -> Tensor:
    """(B, X, Y, Z) classes -> (B, K, x, y, z) float32, the share of each class in a block of ``stride`` cubed."""
    tumour = torch.stack([(label == index).float() for index in range(1, len(CLASSES))], dim=1)
    if stride > 1:
        tumour = F.avg_pool3d(tumour, stride)
    return torch.cat([1 - tumour.sum(dim=1, keepdim=True), tumour], dim=1)


def pure_label(label: Tensor, stride: int, patch: int = 1) -> Tensor:
    """Class of each prototype-grid voxel whose whole patch has one class, -1 elsewhere.

    Args:
        label: (B, X, Y, Z) integer classes.
        stride: Voxels of the label per voxel of the prototype grid.
        patch: Edge of a prototype on its grid; the patch must lie in the window and be pure too.

    Returns:
        (B, x, y, z) int64.
    """
    values = label[:, None].float()
    high = F.max_pool3d(values, stride)
    low = -F.max_pool3d(-values, stride)
    if patch > 1:
        high, low = F.max_pool3d(high, patch, stride=1), -F.max_pool3d(-low, patch, stride=1)
    pure = torch.where(high == low, high, -1.0)[:, 0].long()
    return F.pad(pure, [patch // 2] * 6, value=-1)


def position_mm(case: TrainingCase, voxel: tuple[int, int, int], stride: int) -> tuple[float, float, float]:
    """Centre of a voxel of the prototype grid in the case's RAS space, to 0.01 mm."""
    centre = np.append(np.asarray(voxel) * stride + (stride - 1) / 2, 1.0)
    x, y, z = (round(float(v), 2) for v in (case.affine @ centre)[:3])
    return x, y, z
