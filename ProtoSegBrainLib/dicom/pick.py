"""One series for each role: the finest of several, or the one that a person names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ProtoSegBrainLib.dicom.examination import ENOUGH_NAMED, Examination, dashed
from ProtoSegBrainLib.dicom.series import Series
from ProtoSegBrainLib.dicom.stack import fault_of, short_fault
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, SHORT_NAMES, listed


@dataclass(frozen=True, eq=False)
class Picked:
    """Series by role, and which of several they were."""

    series: Mapping[str, Series]
    remarks: tuple[str, ...]


def pick(examination: Examination, given: Mapping[str, str] | None = None) -> Picked:
    """One series for each role.

    Args:
        examination: Whose series.
        given: By role, what a person says: number, UID, or a part of what a series is called.

    Raises:
        FileNotFoundError: A role without a series.
        ValueError: A choice that fits none or several, one series for two roles, or all candidates are faulty.
    """
    named = {role: _named(examination, role, text) for role, text in (given or {}).items()}
    free = [each for each in examination.series if each not in named.values()]
    found, remarks = dict(named), []
    for role in (role for role in MODALITIES if role not in named):
        some = [each for each in free if each.role.role == role]
        if some:
            found[role], said = _best(role, some)
            remarks += [said] if said else []
    missing = [role for role in MODALITIES if role not in found]
    if missing:
        raise FileNotFoundError(_missing_said(examination, missing))
    _check_different(found)
    for role, each in named.items():
        if each.role.role != role:
            said = "it looks like " + MODALITY_NAMES[each.role.role] if each.role.role else each.role.reason
            remarks.append(f"Series {each.name} was given for {MODALITY_NAMES[role]}; by its header: {said}.")
    return Picked({role: found[role] for role in MODALITIES}, tuple(remarks))


def _best(role: str, some: Sequence[Series]) -> tuple[Series, str]:
    """The finest of the candidates that have no fault, and why it was taken."""
    faults = {each: fault_of(each) for each in some}
    sound = [each for each in reversed(some) if not faults[each]]  # of equal ones the later
    if not sound:
        raise ValueError(" ".join(faults.values()))
    best, *others = sorted(sound, key=_fineness, reverse=True)
    said = [f"{each.name} ({_less(best, each)})" for each in others]
    said += [f"{each.name} ({short_fault(faults[each])})" for each in some if faults[each]]
    if not said:
        return best, ""
    taken = f"{best.name} was taken for {MODALITY_NAMES[role]}"
    return best, f"Of {len(some)} series, {taken}, not {listed(said)}."


def _fineness(series: Series) -> tuple[float, float, int]:
    """Smallest longest edge of a voxel, as thick slices may have fine pixels; smallest voxel; most slices."""
    dx, dy, dz = series.spacing_mm
    return -round(max(dx, dy, dz), 1), -round(dx * dy * dz, 2), series.size[2]


def _less(best: Series, other: Series) -> str:
    one, two = _fineness(best), _fineness(other)
    if one[:2] != two[:2]:
        return "voxels of " + " x ".join(f"{mm:.2g}" for mm in other.spacing_mm) + " mm"
    if one[2] != two[2]:
        return f"{other.size[2]} slices instead of {best.size[2]}"
    return "alike, and the earlier one"


def _named(examination: Examination, role: str, text: str) -> Series:
    """The series that a person means."""
    flag, text = f"--{SHORT_NAMES[role]} {text}", text.strip()
    tests: list[Callable[[Series], bool]] = [
        lambda each: text.isdigit() and each.number == int(text),
        lambda each: each.uid == text,
        lambda each: text.lower() in (each.name.lower(), each.description.lower()),
        lambda each: bool(text) and text.lower() in each.name.lower(),
    ]
    some = next((some for test in tests if (some := [each for each in examination.series if test(each)])), [])
    if len(some) == 1:
        return some[0]
    if not some:
        raise ValueError(f"{flag}: there is no such series; there is: {_listing(examination.series)}.")
    uids = {each.uid for each in some}
    advice = "give the series' UID" if len(uids) == len(some) else "give more of its name"
    raise ValueError(f"{flag} may mean {listed([_told_apart(each) for each in some])}; {advice}.")


def _told_apart(series: Series) -> str:
    return f"{series.name} with UID {series.uid}"


def _check_different(found: Mapping[str, Series]) -> None:
    for n, role in enumerate(MODALITIES):
        for other in MODALITIES[:n]:
            if found[role] is found[other]:
                names = f"{MODALITY_NAMES[other]} and {MODALITY_NAMES[role]}"
                raise ValueError(f"Series {found[role].name} was given for {names}; expected four different series.")


def _missing_said(examination: Examination, missing: Sequence[str]) -> str:
    names = listed([MODALITY_NAMES[role] for role in missing])
    flags = " ".join(f"--{SHORT_NAMES[role]}" for role in missing)
    advice = f"Where one of them is meant after all, name it with {flags}"
    if missing == ["t1c"] and sum(each.role.role == "t1n" for each in examination.series) > 1:
        advice = f"Of several T1 none says that contrast medium was given; name T1ce with {flags}"
    there = _listing(examination.series)
    return (
        f"No series for {names} in the study of {dashed(examination.date) or 'no date'}; there is: {there}. {advice}."
    )


def _listing(series: Sequence[Series]) -> str:
    shown = [f"{each.name}: {_is_what(each)}" for each in series[:ENOUGH_NAMED]]
    return "; ".join(shown) + (f"; and {len(series) - ENOUGH_NAMED} more" if len(series) > ENOUGH_NAMED else "")


def _is_what(series: Series) -> str:
    return MODALITY_NAMES[series.role.role] if series.role.role else series.role.reason
