"""Which modality a series of an MR scanner is: told by how it was measured, and by its names where that is not said.

Times decide before words: every hospital has its own words, and `T1 FLAIR`, `dark-fluid` and `T2*` mislead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ProtoSegBrainLib.images.naming import role_of_name

LOOKED_AT = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
"""The words of a header, the most telling first."""
NOT_MEASURED = frozenset(
    {"DERIVED", "MPR", "MIP", "PROJECTION IMAGE", "REFORMATTED", "ADC", "FA", "TRACEW", "SUBTRACTION"}
)
"""Values of ImageType that mark what was computed from other images."""
OTHER_WORDS = {
    "a localiser": r"loc(alizer|aliser)?|scout|survey|3 ?plane|topogram|planos?|reperage",
    "diffusion": r"dwi|dti|diff(usion)?|adc|trace[wg]?|b ?1000|ep2d_diff|tensor|resolve",
    "perfusion": r"perf(usion)?|dsc|dce|asl|pcasl|twist|ep2d_perf|cbf|cbv|rcbv|mtt|ttp",
    "functional MRI": r"bold|fmri|resting",
    "susceptibility": r"swi|swan|swip|hemo|t2\*|t2 ?star|t2stern|fl2d_hemo|venobold|mag_images|pha_images|minip",
    "an angiography": r"tof|mra|mrv|angio|venc|phase ?contrast|pc3d|qflow",
    "spectroscopy": r"svs|csi|mrs|spectro|press",
    "a balanced gradient echo": r"ciss|fiesta|b ?ffe|btfe|trufi|true ?fisp",
    "a subtraction": r"sub(traction)?|subtr",
    "a field map": r"field ?map(ping)?|b0 ?map|b1 ?map|calib(ration)?|asset|sense ?ref|coil ?survey",
    "a reformation": r"mpr|mip|reformat(ted)?|reform",
}
BEFORE_CONTRAST = r"pre|nativ|native|ohne|without|w/?o|sin|sans|senza|non|plain|unenhanced"
NO_AGENT = frozenset({"", "no", "none", "n", "0", "nil", "unknown", "without", "keins", "nein"})
LEAST_SLICES = 8


@dataclass(frozen=True)
class Role:
    """What a series is.

    Attributes:
        role: One of ``MODALITIES``, or None.
        reason: Why, in a few words: "TE 112 ms, TI 2500 ms"; "a localiser".
    """

    role: str | None
    reason: str


def role_of(header: Any, n_slices: int) -> Role:
    """The role of a series.

    Args:
        header: Of one of its images, with the attributes of classic or enhanced MR objects.
        n_slices: Of the stack.
    """
    left_out = _left_out(header, n_slices)
    if left_out:
        return Role(None, left_out)
    times = Times.of(header)
    weighting, why = times.weighting()
    if weighting is None and times.echo_ms is not None:
        return Role(None, why)
    if weighting is None:
        return _by_words(header)
    if weighting == "t1n" and _has_contrast(header):
        return Role("t1c", f"{why}, with contrast medium")
    return Role(weighting, why)


@dataclass(frozen=True)
class Times:
    """How a series was measured; None where the header does not say."""

    repetition_ms: float | None
    echo_ms: float | None
    inversion_ms: float | None
    is_gradient_echo: bool
    is_planar: bool

    @classmethod
    def of(cls, header: Any) -> Times:
        """From a header of either kind."""
        sequence = {str(word).upper() for word in _values(header, "ScanningSequence")}
        echo_kind = str(_found(header, "EchoPulseSequence") or "").upper()
        return cls(
            repetition_ms=_number(header, "RepetitionTime"),
            echo_ms=_number(header, "EchoTime", "EffectiveEchoTime"),
            inversion_ms=_number(header, "InversionTime", "InversionTimes"),
            is_gradient_echo="GR" in sequence or "GRADIENT" in echo_kind,
            is_planar="EP" in sequence or str(_found(header, "EchoPlanarPulseSequence") or "").upper() == "YES",
        )

    def weighting(self) -> tuple[str | None, str]:
        """``t1n`` (with or without contrast medium), ``t2w``, ``t2f`` or None, and why."""
        tr, te, ti = self.repetition_ms, self.echo_ms, self.inversion_ms or 0.0
        if te is None:
            return None, "the header does not say how it was measured"
        said = f"TE {te:g} ms" + (f", TR {tr:g} ms" if tr else "") + (f", TI {ti:g} ms" if ti else "")
        if self.is_planar:
            return None, "echo-planar (diffusion, perfusion or function)"
        if ti > 1500 and te >= 70 and (tr is None or tr > 4000):
            return "t2f", said
        if 0 < ti < 400 and te > 5 and not self.is_gradient_echo:
            return None, f"short inversion time ({said}), as for fat"
        if self.is_gradient_echo and te > 12:
            return None, f"a gradient echo with a long echo ({said}), as T2* and susceptibility"
        if te >= 60 and (tr is None or tr > 2000) and not self.is_gradient_echo:
            return "t2w", said
        if te <= 30 and (self.is_gradient_echo or 400 <= ti < 1300 or (tr is not None and tr <= 1300)):
            return "t1n", said
        return None, f"neither T1, T2 nor FLAIR ({said})"


def _left_out(header: Any, n_slices: int) -> str:
    """Why a series is none of the four, before its times are looked at; "" where it may be one."""
    if str(_found(header, "Modality") or "") != "MR":
        return f"no MR image ({_found(header, 'Modality') or 'of unknown kind'})"
    derived = NOT_MEASURED.intersection(str(word).upper() for word in _values(header, "ImageType"))
    words = _words(header)
    for what, pattern in OTHER_WORDS.items():
        if re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z])", words):
            return what
    if derived:
        return f"computed from other images ({', '.join(sorted(derived)).lower()})"
    if _number(header, "DiffusionBValue"):
        return "diffusion"
    return f"{n_slices} slices only" if n_slices < LEAST_SLICES else ""


def _by_words(header: Any) -> Role:
    for name in LOOKED_AT:
        text = str(_found(header, name) or "")
        role = role_of_name(text)
        if role not in (None, "label"):
            if role == "t1n" and _has_contrast(header):
                role = "t1c"
            return Role(role, f'called "{text}"')
    return Role(None, "neither its times nor its name say what it is")


def _has_contrast(header: Any) -> bool:
    words = _words(header)
    if re.search(rf"(?<![a-z])(?:{BEFORE_CONTRAST})(?![a-z])", words):
        return False
    agent = str(_found(header, "ContrastBolusAgent") or "").strip().lower()
    if agent not in NO_AGENT:
        return True
    return any(role_of_name(text) == "t1c" or role_of_name(f"t1 {text}") == "t1c" for text in _texts(header))


def _words(header: Any) -> str:
    return " ".join(_texts(header)).lower().replace("_", " ")


def _texts(header: Any) -> Iterator[str]:
    return (str(text) for name in LOOKED_AT[:2] if (text := _found(header, name)))


def _number(header: Any, *names: str) -> float | None:
    """The first of these that is a number above 0."""
    for name in names:
        for value in _values(header, name):
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            if number > 0:
                return number
    return None


def _values(header: Any, name: str) -> list[Any]:
    value = _found(header, name)
    if value is None:
        return []
    return list(value) if not isinstance(value, (str, bytes)) and hasattr(value, "__iter__") else [value]


def _found(header: Any, name: str) -> Any:
    """An attribute of a header, or of the functional groups of an enhanced one; None where it is not there."""
    value = header.get(name)
    if value is not None and value != "":
        return value
    for groups in (header.get("SharedFunctionalGroupsSequence"), header.get("PerFrameFunctionalGroupsSequence")):
        for group in list(groups or [])[:1]:
            for element in group:
                if (
                    element.VR == "SQ"
                    and len(element.value)
                    and (inner := element.value[0].get(name)) not in (None, "")
                ):
                    return inner
    return None
