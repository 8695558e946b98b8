"""A study of any kind -> a case that the network can read: looked at, aligned, the brain found, and all of it said.

A study that is stripped and aligned is taken as it is, on the grid of its finest image. Any other comes to lie on the
grid of T1ce as the scanner gave it: the other images are moved there without being resampled, and one brain mask, that
of T1ce, holds for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.brains import look_at_brains
from ProtoSegBrainLib.images.case import Case, checked_study, choose_reference, on_grid_of_t1c, on_one_grid, resampled
from ProtoSegBrainLib.images.naming import names_of
from ProtoSegBrainLib.images.preparation import Move, Preparation
from ProtoSegBrainLib.images.study import Study
from ProtoSegBrainLib.images.volume import Volume, resample, voxel_ml
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.preparation.alignment import AlignmentConfig, align, move_of
from ProtoSegBrainLib.preparation.brain_mask import brain_mask_warnings, find_brain, read_brain_mask
from ProtoSegBrainLib.preparation.look import Look, look_at
from ProtoSegBrainLib.progress import Progress, part_of

Prepare = Literal["auto", "none", "all"]
FIXED = "t1c"
AS_GIVEN, GIVEN = "as T1ce has it", "mask as given"
"""Where the mask of a stripped study comes from, and that of a person."""


@dataclass(frozen=True)
class PreparationConfig:
    """What is done to a study before it is segmented.

    Attributes:
        prepare: auto: what its images need; none: take them as they are; all: align them and find the brain.
        brain_mask: A person's mask of the brain on the grid of T1ce, in place of the network's.
        strict: Whether a preparation that cannot be trusted is an error.
        alignment: How images are aligned.
    """

    prepare: Prepare = field(default="auto", metadata={"help": "align and find the brain: as needed, never, or always"})
    brain_mask: Path | None = field(default=None, metadata={"help": "mask of the brain, on the grid of T1ce"})
    strict: bool = field(default=False, metadata={"help": "fail where the preparation cannot be trusted"})
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.prepare not in get_args(Prepare):
            raise ValueError(f"prepare must be one of {', '.join(get_args(Prepare))}, not {self.prepare!r}.")
        if self.prepare == "none" and self.brain_mask is not None:
            raise ValueError("A brain mask was given, and nothing is to be prepared; give one or the other.")


def prepare_study(
    study: Study,
    config: PreparationConfig | None = None,
    on_progress: Progress | None = None,
    mask: Volume | None = None,
) -> Case:
    """Make a case of a study.

    Args:
        study: Four images, as they were stored.
        config: What is to be done.
        on_progress: Called with a fraction from 0 to 1 and what is being done.
        mask: A person's mask of the brain in memory, in place of ``config.brain_mask``.

    Raises:
        ValueError: Images that make no case (``case_of``); a mask that does not fit; where it is strict, a preparation
            that cannot be trusted.
        ImportError: The brain must be found, and no network for that is installed.
        FileNotFoundError: There is no such mask.
    """
    config, progress = config or PreparationConfig(), on_progress or _silent
    progress(0.0, "Looking at the images")
    checked = checked_study(study)
    look = look_at(checked.volumes)
    fixed = checked.volumes[FIXED]
    if mask is None and config.brain_mask is not None:
        mask = read_brain_mask(config.brain_mask, fixed)
    if config.prepare == "none" or (config.prepare == "auto" and look.is_ready and mask is None):
        return _as_it_is(checked, look)
    resampled(checked, FIXED)  # refuses images that do not overlap
    progress(0.05, "Finding the brain on T1ce")
    brain, source = _brain(fixed, look, config, mask)
    moves = _moves(checked, brain, look, config, part_of(progress, 0.5, 0.95))
    progress(0.95, "Bringing the images to the grid of T1ce")
    case = on_grid_of_t1c(checked, moves, brain.array != 0)
    doubts = [*_doubts(moves), *brain_mask_warnings(brain), *look_at_brains(_masked(case)).sentences]
    if doubts and config.strict:
        raise ValueError(f"Case {case.case_id}: the preparation cannot be trusted (--strict). {' '.join(doubts)}")
    ml = float(np.count_nonzero(brain.array)) * voxel_ml(brain.affine)
    series = {role: each.name for role, each in study.series.items()}
    return replace(
        case,
        warnings=(*case.warnings, *doubts),
        preparation=Preparation(look.sentence, moves, source, ml, series),
    )


def _as_it_is(checked: Study, look: Look) -> Case:
    reference = choose_reference(checked.volumes)
    said = [*look.skull_sentences, *resampled(checked, reference), *look.brain_sentences]
    return on_one_grid(checked, reference, said)


def _moves(checked: Study, brain: Volume, look: Look, config: PreparationConfig, progress: Progress) -> dict[str, Move]:
    """How T1, T2 and FLAIR were moved onto T1ce, by role; {} where they lie there already.

    What is stripped is laid on the brain alone: a head has little in common with a brain.
    """
    if look.is_ready and config.prepare != "all":
        return {}
    roles = [role for role in MODALITIES if role != FIXED]
    progress(0.0, f"Aligning {names_of(roles)} to T1ce")

    def move(role: str) -> Move:
        moving, fixed = checked.volumes[role], checked.volumes[FIXED]
        if role not in look.with_skull:
            fixed = replace(fixed, array=fixed.array * (brain.array != 0))
        return move_of(align(moving, fixed, config.alignment), moving)

    with ThreadPoolExecutor(len(roles)) as pool:
        return dict(zip(roles, pool.map(move, roles), strict=True))


def _brain(t1c: Volume, look: Look, config: PreparationConfig, mask: Volume | None) -> tuple[Volume, str]:
    """The brain on the grid of T1ce, and where it comes from."""
    if mask is not None:
        on_grid = resample(Volume((mask.array != 0).astype(np.uint8), mask.affine), t1c.shape, t1c.affine, order=0)
        return on_grid, GIVEN if config.brain_mask is None else f"{GIVEN}, {config.brain_mask.name}"
    if FIXED not in look.with_skull and config.prepare != "all":
        return Volume(ndimage.binary_fill_holes(t1c.array != 0).astype(np.uint8), t1c.affine), AS_GIVEN
    return find_brain(t1c)


def _doubts(moves: Mapping[str, Move]) -> list[str]:
    return [f"{MODALITY_NAMES[role]}: {doubt}" for role, move in moves.items() for doubt in move.doubts]


def _masked(case: Case) -> dict[str, Volume]:
    return {role: Volume(image, case.affine) for role, image in zip(MODALITIES, case.images, strict=True)}


def _silent(fraction: float, message: str) -> None:
    """Nobody listens to the progress."""
