"""Tables whose cells may be images: slices with masks over them, for places that show a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ProtoSegBrainLib.pictures.drawing import Colour, outlined


@dataclass(frozen=True, eq=False)
class MaskedImage:
    """A slice with masks over it, such as truth and prediction.

    Attributes:
        grey: (rows, columns) uint8.
        masks: By name, (rows, columns) bool and its colour.
    """

    grey: np.ndarray
    masks: dict[str, tuple[np.ndarray, Colour]]

    def outlined(self) -> np.ndarray:
        """(rows, columns, 3) uint8 with the edges of the masks, for places that know no masks."""
        return outlined(self.grey, self.masks.values())


@dataclass(frozen=True)
class Table:
    """Rows of words, numbers and images under the names of their columns."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str | float | MaskedImage]]
