"""What changed in numbers: volumes with their intervals, diameters, and which thresholds of RANO 2.0 are passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ProtoSegBrainLib.followup.visit import Visit
from ProtoSegBrainLib.result.lesion import MEASURABLE_MM
from ProtoSegBrainLib.result.reliability import volume_interval

# Wen et al. 2023, RANO 2.0, JCO 41:5187: of products of diameters, and of volumes; growth against the smallest value
# since the first date (the nadir), shrinkage against the first.
PRODUCT_GROWTH, PRODUCT_SHRINKAGE = 0.25, -0.50
VOLUME_GROWTH, VOLUME_SHRINKAGE = 0.40, -0.65
NO_ASSESSMENT = (
    "This is no response assessment: steroids, the patient's state, the time since radiotherapy and lesions that no "
    "model found are not known here."
)
DOUBT = " The change lies within what the model's interval allows: it may be the model's error."
_ROUNDING = 1e-9


@dataclass(frozen=True)
class RegionChange:
    """A region at each date, in the order of the dates.

    Attributes:
        region: WT, TC, ET, NCR or ED.
        volumes_ml: At each date.
        intervals_ml: At each date, what the model's interval allows; None where it has none.
        change_ml: Against the first date; 0 there.
        change_percent: The same in per cent; None where there was nothing at first.
        is_beyond_interval: At each date, whether the volume lies outside the interval of the first date and the first
            volume outside its own; None where there is no interval, False at the first date.
        since_nadir_percent: Against the smallest volume up to then; None from nothing.
        thresholds: At each date, the sentences on which thresholds of volume are passed.
    """

    region: str
    volumes_ml: tuple[float, ...]
    intervals_ml: tuple[tuple[float, float] | None, ...]
    change_ml: tuple[float, ...]
    change_percent: tuple[float | None, ...]
    is_beyond_interval: tuple[bool | None, ...]
    since_nadir_percent: tuple[float | None, ...]
    thresholds: tuple[tuple[str, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)


@dataclass(frozen=True)
class DiameterChange:
    """The enhancing tumour's two diameters at each date.

    Attributes:
        longest_mm: 0 where nothing enhances.
        perpendicular_mm: At right angles to it.
        product_mm2: Of the two.
        is_measurable: Whether both reach 10 mm.
        change_percent: Of the product against the first date; None from nothing.
        since_nadir_percent: Against the smallest product up to then; None from nothing.
        thresholds: At each date, the sentences on which thresholds of the product are passed.
    """

    longest_mm: tuple[float, ...]
    perpendicular_mm: tuple[float, ...]
    product_mm2: tuple[float, ...]
    is_measurable: tuple[bool, ...]
    change_percent: tuple[float | None, ...]
    since_nadir_percent: tuple[float | None, ...]
    thresholds: tuple[tuple[str, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)


def region_change(region: str, visits: Sequence[Visit]) -> RegionChange:
    """The volume of a region at each date.

    Args:
        region: WT, TC, ET, NCR or ED.
        visits: In order.
    """
    volumes = [float(visit.prediction.volumes_ml[region]) for visit in visits]
    intervals = [_interval(visit, region) for visit in visits]
    first, dates = volumes[0], list(zip(volumes, intervals, strict=True))
    against_first = [_is_beyond(dates[0], date) for date in dates]
    nadirs = [min(dates[:n], key=lambda date: date[0], default=dates[0]) for n in range(len(dates))]
    against_nadir = [_is_beyond(nadir, date) for nadir, date in zip(nadirs, dates, strict=True)]
    since_nadir = _since_nadir(volumes)
    changes = [_percent(volume, first) for volume in volumes]
    doubts = [
        (DOUBT * (growth is False), DOUBT * (shrinkage is False))
        for growth, shrinkage in zip(against_nadir, against_first, strict=True)
    ]
    return RegionChange(
        region=region,
        volumes_ml=tuple(volumes),
        intervals_ml=tuple(intervals),
        change_ml=tuple(round(volume - first, 4) for volume in volumes),
        change_percent=tuple(changes),
        is_beyond_interval=(False, *against_first[1:]),
        since_nadir_percent=tuple(since_nadir),
        thresholds=_passed(f"{region}: the volume", (VOLUME_GROWTH, VOLUME_SHRINKAGE), since_nadir, changes, doubts),
    )


def diameter_change(visits: Sequence[Visit]) -> DiameterChange:
    """The enhancing tumour's diameters at each date, from the visits' findings."""
    found = [visit.prediction.findings.get("enhancing_diameters_mm") or {} for visit in visits]
    products = [float(each.get("product_mm2", 0.0)) for each in found]
    measurable = [bool(each.get("measurable", False)) for each in found]
    # What cannot be measured (below 10 mm) counts as nothing that a change could be taken of.
    since_nadir = _since_nadir(products) if any(measurable) else [None] * len(found)
    changes = [_percent(product, products[0]) for product in products]
    known = [change if measurable[0] else None for change in changes]
    return DiameterChange(
        longest_mm=tuple(float(each.get("longest", 0.0)) for each in found),
        perpendicular_mm=tuple(float(each.get("perpendicular", 0.0)) for each in found),
        product_mm2=tuple(products),
        is_measurable=tuple(measurable),
        change_percent=tuple(changes),
        since_nadir_percent=tuple(since_nadir),
        thresholds=_passed(
            "ET: the product of diameters",
            (PRODUCT_GROWTH, PRODUCT_SHRINKAGE),
            since_nadir,
            known,
            [("", "")] * len(found),
        ),
    )


def region_sentence(change: RegionChange, number: int) -> str:
    """What became of a region at a later date, for people."""
    ml, percent = change.change_ml[number], change.change_percent[number]
    moved = f"{change.volumes_ml[0]:.1f} to {change.volumes_ml[number]:.1f} ml ({ml:+.1f} ml"
    moved += f", {percent:+.0f}%)" if percent is not None else ")"
    inside = {
        None: "how sure this is, the model does not say",
        False: "a change within what the model's interval allows",
        True: "beyond what the model's interval allows",
    }[change.is_beyond_interval[number]]
    return f"{change.region}: {moved}, {inside}."


def _is_beyond(
    one: tuple[float, tuple[float, float] | None], other: tuple[float, tuple[float, float] | None]
) -> bool | None:
    """Whether each of two volumes lies outside the other's interval; None where there is none."""
    (volume, interval), (another, other_interval) = one, other
    if interval is None or other_interval is None:
        return None
    return not interval[0] <= another <= interval[1] and not other_interval[0] <= volume <= other_interval[1]


def _interval(visit: Visit, region: str) -> tuple[float, float] | None:
    known = {each.region: each.volume_quantile for each in visit.prediction.evidence.calibration.reliability}
    found = volume_interval(float(visit.prediction.volumes_ml[region]), known.get(region))
    return None if found is None else (found[0], found[1])


def _percent(value: float, before: float) -> float | None:
    return None if before <= 0 else round(100 * (value / before - 1), 2)


def _since_nadir(values: Sequence[float]) -> list[float | None]:
    """Of each value against the smallest of those before it; the first against itself."""
    return [_percent(value, min(values[:n], default=value)) for n, value in enumerate(values)]


def _passed(
    what: str,
    thresholds: tuple[float, float],
    since_nadir: Sequence[float | None],
    since_first: Sequence[float | None],
    doubts: Sequence[tuple[str, str]],
) -> tuple[tuple[str, ...], ...]:
    """At each date a sentence for each threshold that is passed, and the doubt that belongs to growth and shrinkage."""
    growth, shrinkage = (100 * share for share in thresholds)
    sentences = []
    for rise, change, (of_growth, of_shrinkage) in zip(since_nadir, since_first, doubts, strict=True):
        said = []
        if rise is not None and rise >= growth - _ROUNDING:
            said.append(
                f"{what} has grown by {rise:.0f}% since its smallest value, by {growth:.0f}% or more: RANO 2.0's "
                f"threshold of progression.{of_growth}"
            )
        if change is not None and change <= shrinkage + _ROUNDING:
            said.append(
                f"{what} has shrunk by {-change:.0f}% since the first date, by {-shrinkage:.0f}% or more: RANO 2.0's "
                f"threshold of partial response.{of_shrinkage}"
            )
        sentences.append(tuple(said))
    return tuple(sentences)


def not_measurable(change: DiameterChange) -> str:
    """A sentence where the enhancing tumour is below 10 mm at some date; "" where it is not."""
    if all(change.is_measurable) or not any(change.product_mm2):
        return ""
    return (
        f"ET is below {MEASURABLE_MM:.0f} mm in a diameter at some date: RANO does not measure that, and a change of "
        "its product means little."
    )
