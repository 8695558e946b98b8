"""The examinations of a folder: its series by patient, study and date."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ProtoSegBrainLib.dicom.series import Folder, Series
from ProtoSegBrainLib.labels import MODALITIES

ENOUGH_NAMED = 25
"""More than these are not listed in a sentence."""


@dataclass(frozen=True, eq=False)
class Examination:
    """The series of one patient, study and date.

    Attributes:
        number: In the list of a folder, from 1.
        study: Instance UID.
        patient: Code of the patient.
        date: YYYYMMDD, or "".
        series: In their order.
        is_alone: Whether no other examination bears this UID.
    """

    number: int
    study: str
    patient: str
    date: str
    series: tuple[Series, ...]
    is_alone: bool = True

    @property
    def roles(self) -> list[str]:
        """Those of the four that some series has."""
        return [role for role in MODALITIES if any(series.role.role == role for series in self.series)]

    @property
    def name(self) -> str:
        """For people: "2 (2025-01-31, 3 of the four images)"."""
        return f"{self.number} ({dashed(self.date) or 'no date'}, {len(self.roles)} of the four images)"


def examinations(folder: Folder) -> list[Examination]:
    """The series of a folder by patient, study and date, in the order of dates; days that follow each other are one."""
    groups: dict[tuple[str, str, str], list[Series]] = defaultdict(list)
    for study in dict.fromkeys(each.study for each in folder.series):
        series = [each for each in folder.series if each.study == study]
        # What was computed later is of the examination that it was computed from.
        measured = [each.date for each in series if each.role.role] or [each.date for each in series]
        starts = _starts(measured)
        for each in series:
            groups[starts.get(each.date, min(starts.values())), study, each.patient].append(each)
    n_of_study: dict[str, int] = defaultdict(int)
    for _, study, _ in groups:
        n_of_study[study] += 1
    return [
        Examination(number, study, patient, day, tuple(groups[day, study, patient]), n_of_study[study] == 1)
        for number, (day, study, patient) in enumerate(sorted(groups), 1)
    ]


def dashed(day: str) -> str:
    """20250131 as 2025-01-31; what is no date as it is."""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if re.fullmatch(r"\d{8}", day) else day


def _starts(days: Iterable[str]) -> dict[str, str]:
    """For each day the first of those that follow each other without a gap: an examination may last over midnight."""
    starts: dict[str, str] = {}
    last, start = None, ""
    for day in sorted(set(days)):
        this = _day(day)
        if this is None or last is None or (this - last).days > 1:
            start = day
        starts[day], last = start, this
    if len(starts) > 1 and "" in starts:  # a series without a date is of the others' first one
        starts[""] = min(day for day in starts.values() if day)
    return starts


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None


def chosen(place: Path, found: Sequence[Examination], study: str | None = None) -> tuple[Examination, list[str]]:
    """The examination that is meant, and what is to be said of the others.

    Args:
        place: The folder, for sentences.
        found: In it.
        study: What a person says: its number, its date, its UID or an end of that; None: there is one.

    Raises:
        ValueError: It may be several, or none; they are listed.
    """
    some = [each for each in found if study is None or _is_meant(each, study)]
    if study is None and len(some) > 1:
        some = [each for each in found if each.roles] or some
    if len(some) == 1:
        left = len(found) - 1 if study is None else 0
        others = f"{left} other stud{'ies' if left > 1 else 'y'}"
        said = f"{place}: {others} without any of the four images {'were' if left > 1 else 'was'} left out."
        return some[0], [said] if left else []
    raise ValueError(_which(place, found, some, study))


def _which(place: Path, found: Sequence[Examination], some: Sequence[Examination], study: str | None) -> str:
    shown = some or found
    n_patients = len({each.patient for each in shown})
    whose = f" of {n_patients} patients" if n_patients > 1 else ""
    names = "; ".join(each.name for each in shown[:ENOUGH_NAMED]) + ("; ..." if len(shown) > ENOUGH_NAMED else "")
    if not some:
        return f"{place} holds no study {study!r}; there is: {names}. Give one of these numbers as --study."
    means = "" if study is None else f" that {study!r} may mean"
    return (
        f"{place} holds {len(shown)} studies{whose}{means}: {names}. Choose one with --study (number, date or UID), "
        "or segment all with segment-folder."
    )


def _is_meant(examination: Examination, text: str) -> bool:
    """Whether a person who says this means it: its number, its date, or a part of its UID that is no number."""
    text = text.strip()
    if re.fullmatch(r"\d{1,3}", text):
        return examination.number == int(text)
    if re.fullmatch(r"\d{4}\D?\d{2}\D?\d{2}", text) and re.sub(r"\D", "", text) == examination.date:
        return True
    return bool(text) and (examination.study.startswith(text) or examination.study.endswith(text))
