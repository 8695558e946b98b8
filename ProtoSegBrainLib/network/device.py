"""Where a network computes: device, precision and memory, and the ways that need less of it."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch

logger = logging.getLogger(__name__)

Output = TypeVar("Output")
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Tile edge, without its margin, that is tried when the whole brain does not fit.
FALLBACK_TILE = 64
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


def at_precision(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """A context in which convolutions are computed so; float32 is what they are without."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def at_native_precision(device: torch.device) -> torch.autocast:
    """A context in which a network computes in the half precision of ``half_precision_of``, if there is one."""
    return at_precision(half_precision_of(device), device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch, its libraries or Python says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)


def first_that_fits(
    attempts: Sequence[Attempt], run: Callable[[Attempt], Output], case_id: str
) -> tuple[Output, Attempt, list[str]]:
    """What the first attempt that does not run out of memory gives, that attempt, and what a user should know.

    Raises:
        MemoryError: None fits.
        ValueError: There is no attempt.
    """
    warnings: list[str] = []
    for attempt, following in itertools.zip_longest(attempts, attempts[1:]):
        try:
            output = run(attempt)
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
            if following is None:
                raise MemoryError(
                    f"Case {case_id}: out of memory with {attempt}, which needs the least. "
                    "Close other programs, or use a machine with more memory."
                ) from error
        else:
            return output, attempt, warnings
        # Out here the traceback, and with it the tensors of the failed attempt, is gone.
        warnings.append(f"Out of memory on {attempt}; the network was run on {following} instead.")
        logger.warning(warnings[-1])
        if attempt.device.type == "cuda":
            torch.cuda.empty_cache()
    raise ValueError("No attempt was given.")


def peak_memory_mib(device: str) -> float | None:
    """The most memory that this process has held, of the GPU where it computes there; None where nobody counts."""
    if device.startswith("cuda"):
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose ru_maxrss begins with the peak of the process that started this one
        kib = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return round(int(kib) / 2**10)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def _device(wanted: str) -> torch.device:
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, is_there in present.items() if is_there))
    if not present[wanted]:
        raise ValueError(f"device {wanted!r} was asked for, but this machine has none that torch can use; try cpu.")
    return torch.device(wanted)


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
