"""Results of one patient at several dates -> what changed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.followup.change import (
    NO_ASSESSMENT,
    DiameterChange,
    RegionChange,
    diameter_change,
    not_measurable,
    region_change,
    region_sentence,
)
from ProtoSegBrainLib.followup.maps import NEW, ChangeMap, change_map
from ProtoSegBrainLib.followup.motion import Registration, register
from ProtoSegBrainLib.followup.reasons import Reason, is_one_model, reasons
from ProtoSegBrainLib.followup.visit import Visit, in_order
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.lesion import count_foci
from ProtoSegBrainLib.result.prediction import VOLUMES


@dataclass(frozen=True)
class FollowConfig:
    """When two scans count as one head; the defaults were chosen on real pairs (docs/experiments/follow-up.md)."""

    least_overlap: float = field(default=0.8, metadata={"help": "Dice of the two brains, laid on each other"})
    least_likeness: float = field(default=0.45, metadata={"help": "correlation of their fine structure"})
    same_patient: bool = field(
        default=False, metadata={"help": "go on where the scans look like those of two patients"}
    )


@dataclass(frozen=True, eq=False)
class FollowUp:
    """What changed in a patient.

    Attributes:
        visits: In the order of their dates.
        registrations: Of each visit onto the first.
        regions: Volumes of NCR, ED, ET, WT and TC at each date, by name.
        diameters: Of the enhancing tumour at each date.
        reasons: Of each later visit against the first: which prototypes count for more or less.
        maps: Of WT, TC and ET; each later visit against the one before it.
        new_foci: Of each visit, separate parts of enhancing tumour where the visit before had no tumour at all.
        sentences: What to read first; the last says what this is not.
        warnings: What a user should know.
    """

    visits: tuple[Visit, ...]
    registrations: tuple[Registration, ...]
    regions: dict[str, RegionChange]
    diameters: DiameterChange
    reasons: tuple[tuple[Reason, ...], ...]
    maps: tuple[ChangeMap, ...]
    new_foci: tuple[int, ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them; without images."""
        return {
            "visits": [_visit(visit) for visit in self.visits],
            "sentences": list(self.sentences),
            "warnings": list(self.warnings),
            "regions": {name: change.to_dict() for name, change in self.regions.items()},
            "diameters": self.diameters.to_dict(),
            "new_foci": list(self.new_foci),
            "reasons": [[{**each.to_dict(), "sentence": each.sentence} for each in some] for some in self.reasons],
            "registrations": [registration.to_dict() for registration in self.registrations],
            "maps": [
                {"region": each.region, "earlier": each.earlier, "later": each.later, "volumes_ml": each.volumes_ml}
                for each in self.maps
            ],
        }


def follow(
    visits: Sequence[Visit], config: FollowConfig | None = None, on_progress: Progress | None = None
) -> FollowUp:
    """Compare the results of one patient at several dates.

    The later scans are registered to the first, rigidly; nothing is resampled but the maps of change.

    Args:
        visits: Two or more, in any order where they have dates.
        config: When two scans count as one head.
        on_progress: Called with a fraction from 0 to 1 and what is being done.

    Raises:
        ValueError: Fewer than two visits, dates that make no order, one scan twice; or scans that look like those of
            two patients, unless the configuration says that they are of one.
    """
    config, progress = config or FollowConfig(), on_progress or _silent
    ordered, said = in_order(visits)
    ordered = tuple(_with_findings(visit) for visit in ordered)
    progress(0.05, "Registering the later scans to the first")
    registrations = _registrations(ordered, config)
    _refuse_strangers(ordered, registrations, config)
    progress(0.7, "Comparing")
    regions = {name: region_change(name, ordered) for name in VOLUMES}
    diameters = diameter_change(ordered)
    maps = _maps(ordered, registrations)
    foci = (0, *(_new_foci(ordered, registrations, n) for n in range(1, len(ordered))))
    result = FollowUp(
        visits=ordered,
        registrations=registrations,
        regions=regions,
        diameters=diameters,
        reasons=((), *(reasons(ordered[0], visit) for visit in ordered[1:])),
        maps=maps,
        new_foci=foci,
        sentences=(),
        warnings=(*said, *_warnings(ordered, registrations)),
    )
    progress(1.0, "Done")
    return replace(result, sentences=_sentences(result))


def _registrations(visits: Sequence[Visit], config: FollowConfig) -> tuple[Registration, ...]:
    first, *later = visits
    with ThreadPoolExecutor(min(4, len(later))) as pool:
        found = pool.map(lambda v: register(v, first, config.least_overlap, config.least_likeness), later)
        return (Registration.none(), *found)


def _refuse_strangers(visits: Sequence[Visit], registrations: Sequence[Registration], config: FollowConfig) -> None:
    strangers = [(visit, found) for visit, found in zip(visits, registrations, strict=True) if not found.is_same_head]
    if not strangers or config.same_patient:
        return
    visit, found = strangers[0]
    raise ValueError(
        f"{visits[0].case.case_id} ({visits[0].name}) and {visit.case.case_id} ({visit.name}) look like two patients, "
        f"or could not be laid on each other: their brains overlap by {found.overlap:.0%} and are alike by "
        f"{found.likeness:.2f} ({config.least_overlap:.0%} and {config.least_likeness:g} expected of one head). Check "
        "the files; if they are of one patient, say so (--same-patient)."
    )


def _with_findings(visit: Visit) -> Visit:
    if visit.prediction.findings:
        return visit
    return replace(visit, prediction=replace(visit.prediction, findings=findings(visit.prediction)))


def _maps(visits: Sequence[Visit], registrations: Sequence[Registration]) -> tuple[ChangeMap, ...]:
    """Each later visit against the one before it, region by region."""
    return tuple(
        change_map(region, (visits[n - 1], visits[n]), (n - 1, n), _between(registrations, n))
        for n in range(1, len(visits))
        for region in REGIONS
    )


def _between(registrations: Sequence[Registration], number: int) -> np.ndarray:
    """From a visit to the one before it."""
    return np.asarray(np.linalg.inv(registrations[number - 1].motion) @ registrations[number].motion)


def _new_foci(visits: Sequence[Visit], registrations: Sequence[Registration], number: int) -> int:
    """Separate parts of ET, .1 ml or more, that touch no tumour of the visit before."""
    from scipy import ndimage

    tumour = change_map("WT", (visits[number - 1], visits[number]), (0, 0), _between(registrations, number)).on_later
    enhancing = np.isin(visits[number].prediction.label, REGIONS["ET"])
    parts, count = ndimage.label(enhancing, np.ones((3, 3, 3)))
    before = ndimage.binary_dilation((tumour.array > 0) & (tumour.array != NEW), iterations=2)
    touching = np.unique(parts[before])
    apart = np.isin(parts, np.setdiff1d(np.arange(1, count + 1), touching))
    return count_foci(apart, tumour.affine)


def _warnings(visits: Sequence[Visit], registrations: Sequence[Registration]) -> tuple[str, ...]:
    warnings = []
    if not is_one_model(visits):
        models = ", ".join(dict.fromkeys(str(visit.prediction.model["name"]) for visit in visits))
        warnings.append(f"The results come from different models ({models}): what changed may be the models.")
    corrected = [visit.name for visit in visits if visit.prediction.evidence.taught]
    if corrected:
        warnings.append(f"A person has corrected the result of {', '.join(corrected)}.")
    for visit, found in zip(visits, registrations, strict=True):
        unlike = visit.prediction.findings.get("out_of_distribution", {})
        if unlike.get("flag"):
            warnings.append(f"{visit.name}: the scan is unlike the training data; its result is probably poor.")
        if not found.is_same_head:
            warnings.append(f"{visit.name}: the scan looks like that of another patient; the maps say nothing then.")
        warnings += [f"{visit.name}: {doubt}" for doubt in found.doubts]
    return tuple(warnings)


def _sentences(followup: FollowUp) -> tuple[str, ...]:
    """What to read first: the last date against the first, thresholds, new foci, and what this is not."""
    last = len(followup.visits) - 1
    lines = [region_sentence(followup.regions[name], last) for name in REGIONS]
    for number, visit in enumerate(followup.visits):
        passed = [s for name in REGIONS for s in followup.regions[name].thresholds[number]]
        lines += [f"{visit.name}: {sentence}" for sentence in (*passed, *followup.diameters.thresholds[number])]
        if followup.new_foci[number]:
            count = followup.new_foci[number]
            lines.append(f"{visit.name}: {count} new enhancing part{'s' * (count > 1)} apart from the earlier tumour.")
    unmeasured = not_measurable(followup.diameters)
    return (*lines, *([unmeasured] if unmeasured else []), NO_ASSESSMENT)


def _visit(visit: Visit) -> dict[str, Any]:
    prediction = visit.prediction
    return {
        "name": visit.name,
        "date": None if visit.date is None else visit.date.isoformat(),
        "case_id": visit.case.case_id,
        "model": {name: prediction.model.get(name) for name in ("name", "identity")},
        "volumes_ml": prediction.volumes_ml,
        "corrected_points": len(prediction.evidence.taught),
    }


def _silent(fraction: float, message: str) -> None:
    """Nobody listens to the progress."""
