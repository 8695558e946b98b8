"""What was done to a raw study before it became a case: said in numbers, so that a person can judge and undo it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ProtoSegBrainLib.labels import MODALITY_NAMES
from ProtoSegBrainLib.records import require, stored


@dataclass(frozen=True, eq=False)
class Move:
    """How one image was moved onto T1ce.

    Attributes:
        motion: 4x4, RAS mm: takes a place in the image as its header has it to the same tissue in T1ce. The identity
            where the header was kept.
        displacement_mm: Of the head, root of the mean square.
        degrees: Of the rotation.
        information: Mattes' mutual information with T1ce afterwards, in nats.
        information_before: The same as the header has it.
        doubts: Sentences on why it should not be trusted; none is good.
    """

    motion: np.ndarray
    displacement_mm: float
    degrees: float
    information: float
    information_before: float
    doubts: tuple[str, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether the position in the header was good enough."""
        return bool(np.array_equal(self.motion, np.eye(4)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Move:
        """What ``to_dict`` gave.

        Raises:
            ValueError: It is something else.
        """
        rows = stored(values["motion"], tuple[tuple[float, ...], ...], "motion")
        require(np.shape(rows) == (4, 4), "motion: expected 4 rows of 4 numbers")
        numbers = {name: stored(values[name], float, name) for name in cls.__annotations__ if name in _NUMBERS}
        return cls(np.array(rows), **numbers, doubts=stored(values["doubts"], tuple[str, ...], "doubts"))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {
            "motion": [[round(float(number), 8) for number in row] for row in self.motion],
            **{name: round(float(getattr(self, name)), 4) for name in _NUMBERS},
            "doubts": list(self.doubts),
        }


_NUMBERS = ("displacement_mm", "degrees", "information", "information_before")


@dataclass(frozen=True)
class Preparation:
    """What was done to the images of a case.

    Attributes:
        looked: What the images were, in a sentence: "with skull, on four grids".
        moves: By role; those of T1, T2 and FLAIR where they were registered to T1ce, else {}.
        brain: Where the brain mask comes from: a network's name, a file's, "T1ce as given"; "" where none was needed.
        brain_ml: Volume of that mask; 0 where there is none.
        series: Where the study is DICOM, what each series is called, by role.
    """

    looked: str
    moves: Mapping[str, Move] = field(default_factory=dict)
    brain: str = ""
    brain_ml: float = 0.0
    series: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        parts = [
            f"{MODALITY_NAMES[role]} "
            + (
                "was left where it was"
                if move.is_kept
                else f"was moved by {move.displacement_mm:.1f} mm and {move.degrees:.1f} degrees"
            )
            for role, move in self.moves.items()
        ]
        parts += [f"brain of {self.brain_ml:.0f} ml: {self.brain}"] if self.brain else []
        return "; ".join([self.looked, *parts]) + "."

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preparation:
        """What ``to_dict`` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            return cls(
                looked=stored(values["looked"], str, "looked"),
                moves={role: Move.from_dict(move) for role, move in values["moves"].items()},
                brain=stored(values["brain"], str, "brain"),
                brain_ml=stored(values["brain_ml"], float, "brain_ml"),
                series=stored(values["series"], dict[str, str], "series"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not what a result says of its preparation ({type(error).__name__}: {error})") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return {
            "looked": self.looked,
            "moves": {role: move.to_dict() for role, move in self.moves.items()},
            "brain": self.brain,
            "brain_ml": round(self.brain_ml, 1),
            "series": dict(self.series),
        }
