"""A patient at one date: the images, and what was found in them."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.result.prediction import Prediction

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_DICOM_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")


@dataclass(frozen=True, eq=False)
class Visit:
    """A patient at one date.

    Attributes:
        case: The images.
        prediction: What was found in them.
        date: When they were made; None where nobody said.
        name: What sentences call it: "2024-03-01", or "first"; "" before the visits are in order.
    """

    case: Case
    prediction: Prediction
    date: datetime.date | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse a result of other images."""
        if self.prediction.label.shape != self.case.images.shape[1:]:
            raise ValueError(
                f"Case {self.case.case_id}: the result has a grid of {self.prediction.label.shape}, the images of "
                f"{self.case.images.shape[1:]}; give the result of these images."
            )


def date_of(case: Case) -> datetime.date | None:
    """The day on which the series of a DICOM study were made; None where the files do not say."""
    for series in case.series.values():
        found = _DICOM_DATE.fullmatch(str(getattr(series, "date", "")))
        if found:
            try:
                return datetime.date(*(int(part) for part in found.groups()))
            except ValueError:
                continue
    return None


def parse_date(text: str) -> datetime.date:
    """A day as people type it: 2024-03-01, or 20240301.

    Raises:
        ValueError: It is written otherwise, or there is no such day.
    """
    try:
        return datetime.date.fromisoformat(_DICOM_DATE.sub(r"\1-\2-\3", text.strip()))
    except ValueError as error:
        raise ValueError(f"expected a date such as 2024-03-01; got {text!r}") from error


def in_order(visits: Sequence[Visit]) -> tuple[tuple[Visit, ...], tuple[str, ...]]:
    """The visits with their names in the order of their dates, and what a user should know of that.

    Raises:
        ValueError: Fewer than two, two of one date, dates for some of them only, or one scan twice.
    """
    if len(visits) < 2:
        raise ValueError(f"Expected the scans of at least two dates; got {len(visits)}.")
    dates = [visit.date for visit in visits if visit.date is not None]
    if 0 < len(dates) < len(visits):
        without = ", ".join(visit.case.case_id for visit in visits if visit.date is None)
        raise ValueError(f"There is no date for {without}; give the dates of all scans, or of none.")
    twice = sorted({day.isoformat() for day in dates if dates.count(day) > 1})
    if twice:
        raise ValueError(f"Two scans are dated {twice[0]}; expected one scan for each date.")
    _refuse_copies(visits)
    if not dates:
        names = [_ordinal(n) for n in range(len(visits))]
        said = ("The scans have no dates: they are taken in the order in which they were given.",)
        return tuple(replace(visit, name=name) for visit, name in zip(visits, names, strict=True)), said
    ordered = sorted(visits, key=lambda visit: visit.date or datetime.date.min)
    changed = [] if ordered == list(visits) else ["The scans were put into the order of their dates."]
    return tuple(replace(visit, name=str(visit.date)) for visit in ordered), tuple(changed)


def _ordinal(number: int) -> str:
    return ORDINALS[number] if number < len(ORDINALS) else f"{number + 1}th"


def _refuse_copies(visits: Sequence[Visit]) -> None:
    for n, one in enumerate(visits):
        for other in visits[n + 1 :]:
            if one.case.images.shape == other.case.images.shape and np.array_equal(one.case.images, other.case.images):
                raise ValueError(
                    f"{one.case.case_id} and {other.case.case_id} are the same scan; expected scans of different dates."
                )
