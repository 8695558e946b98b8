"""One simulated brain at two dates: its tumour grown or shrunk by a known amount, laid otherwise, scanned anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, bounding_box, resample, voxel_ml
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.simulation.anatomy import BRATS_SHAPE, Array, Head, Space, draw_head, smooth_noise
from ProtoSegBrainLib.simulation.scanner import moved
from ProtoSegBrainLib.simulation.simulate import (
    BRAIN_MEAN,
    BRAIN_SD,
    SimulationConfig,
    check_simulation,
    simulate_case,
    tissue_signals,
)

LATER = "_later"
"""What the name of the later case ends with."""
EDGE = -2.5
"""Signal beside the brain, in standard deviations of its intensities, as in ``simulate``."""


@dataclass(frozen=True)
class TwoDatesConfig:
    """What is different at the later date.

    Attributes:
        growth: Of the tumour's volume, about: 1.5 is half as large again, .5 half as large, 1 the same.
        degrees: Most by which the head is turned; half of it at least.
        shift_mm: Most by which it is shifted.
        gain: Most by which the scanner's scale differs, as a share.
        simulation: Kind of tumour, noise and bias field at both dates.
    """

    growth: float = 1.5
    degrees: float = 8.0
    shift_mm: float = 6.0
    gain: float = 0.15
    simulation: SimulationConfig = field(default_factory=SimulationConfig)

    def __post_init__(self) -> None:
        """Refuse what is no growth.

        Raises:
            ValueError: It is not positive.
        """
        if not self.growth > 0:
            raise ValueError(f"growth: expected a number above 0, got {self.growth}.")


@dataclass(frozen=True, eq=False)
class TwoDates:
    """The two dates of a simulated patient, and what is true.

    Attributes:
        earlier: As ``simulate_case`` makes it.
        later: The same brain on the same grid, moved.
        motion: 4x4, RAS mm: takes a place in the later case to the same tissue in the earlier one.
        volumes_ml: True volumes of WT, TC and ET at both dates, before the head was moved.
    """

    earlier: Case
    later: Case
    motion: np.ndarray
    volumes_ml: Mapping[str, tuple[float, float]]


def simulate_two_dates(
    seed: int, shape: tuple[int, int, int] = BRATS_SHAPE, config: TwoDatesConfig = TwoDatesConfig()
) -> TwoDates:
    """The same arguments give the same cases; the earlier one is that of ``simulate_case``.

    Args:
        seed: Chooses head, tumour, noise and motion.
        shape: Grid (X, Y, Z) of 1 mm voxels.
        config: What is different at the later date.

    Raises:
        ValueError: What ``simulate_case`` refuses.
    """
    check_simulation(seed, shape, config.simulation.tumour)
    earlier = simulate_case(seed, shape, config.simulation)
    rng = np.random.default_rng(seed)
    head = draw_head(rng, shape, config.simulation.tumour, config.growth)
    signals = [signal for signal, _ in tissue_signals(rng, head)]
    new = np.random.default_rng([seed, 1])
    middle = (earlier.affine @ [*((np.array(shape) - 1) / 2), 1])[:3]
    motion = moved(new, middle, config.degrees, config.shift_mm * head.space.scale)
    images, label = _scanned(new, head, signals, earlier.affine @ _start(head), (shape, earlier.affine), motion, config)
    later = replace(earlier, case_id=earlier.case_id + LATER, images=images, label=label)
    volumes = {
        name: (_ml(earlier.label, members, earlier.affine), _ml(head.label, members, earlier.affine))
        for name, members in REGIONS.items()
    }
    return TwoDates(earlier, later, motion, volumes)


def _scanned(
    rng: np.random.Generator,
    head: Head,
    signals: list[Array],
    affine: np.ndarray,
    grid: tuple[tuple[int, int, int], np.ndarray],
    motion: np.ndarray,
    config: TwoDatesConfig,
) -> tuple[Array, Array]:
    """Images (4, X, Y, Z) and label of a head that lies otherwise, on a grid, with noise of their own."""
    lies = np.linalg.inv(motion) @ affine
    brain = resample(Volume(head.brain.astype(np.float32), lies), *grid, order=1).array >= 0.5
    label = resample(Volume(head.label, lies), *grid, order=0).array * brain
    x, y, z = bounding_box(brain) or tuple(slice(0, n) for n in grid[0])
    box = (x, y, z)
    space = replace(head.space, points=(np.empty(brain[box].shape, np.float32),) * 3, slices=box)
    images = np.zeros((4, *grid[0]), np.float32)
    for modality, signal in enumerate(signals):
        # What lies beyond the drawn box is resampled to 0, which is the brain's mean: hence the shift by the edge.
        there = resample(Volume(signal - np.float32(EDGE), lies), *grid, order=1).array[box] + np.float32(EDGE)
        images[modality, x, y, z] = _acquired(rng, there, brain[box], space, modality, config)
    return images, label


def _acquired(
    rng: np.random.Generator, signal: Array, brain: Array, space: Space, modality: int, config: TwoDatesConfig
) -> Array:
    """Blur, noise, bias field and scale of another scan; whole numbers, 0 outside the brain."""
    image = ndimage.gaussian_filter(np.where(brain, signal, np.float32(EDGE)), rng.uniform(0.3, 0.6, 3), truncate=2.5)
    image += np.float32(config.simulation.noise) * rng.standard_normal(brain.shape, dtype=np.float32)
    gain = np.exp(np.float32(config.simulation.bias) * smooth_noise(rng, space, 50))
    gain *= np.float32(1 + rng.uniform(-config.gain, config.gain))
    image = (np.float32(BRAIN_MEAN[modality]) + np.float32(BRAIN_SD[modality]) * image) * gain
    return np.where(brain, np.clip(np.rint(image), 1, 4095), 0)


def _start(head: Head) -> np.ndarray:
    """From voxels of the drawn box to those of the whole grid."""
    start = np.eye(4)
    start[:3, 3] = [part.start for part in head.space.slices]
    return start


def _ml(label: Array | None, members: tuple[int, ...], affine: np.ndarray) -> float:
    assert label is not None
    return round(float(np.isin(label, members).sum()) * voxel_ml(affine), 3)
