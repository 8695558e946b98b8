"""Which modality a series of an MR scanner is: told by how it was measured, and by its names where that is not said.

Times decide before words: every hospital has its own words, and `T1 FLAIR`, `dark-fluid` and `T2*` mislead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ProtoSegBrainLib.dicom.instances import inner_of, value_of
from ProtoSegBrainLib.images.naming import role_of_name
from ProtoSegBrainLib.labels import MODALITIES, WORDS

LOOKED_AT = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
"""The words of a header, the most telling first."""
NOT_MEASURED = frozenset(
    {
        *("DERIVED", "MPR", "CSA MPR", "CSA PARALLEL", "REFORMATTED", "MIP", "MINIP", "MNIP", "PROJECTION IMAGE"),
        *("ADC", "FA", "TRACEW", "SUBTRACTION", "SUBTRACT", "SUB", "T1 MAP", "T2 MAP"),
    }
)
"""Values of ImageType that mark what was computed from other images."""
OTHER_PARTS = {
    "a phase image": {"P", "PHASE", "PHASE MAP", "PHASE_MAP"},
    "a real or imaginary part": {"R", "I", "REAL", "IMAGINARY"},
    "a Dixon part": {"FAT", "OPP_PHASE", "OUT_PHASE", "FAT_FRACTION"},
}
"""Further values, behind the second, and what they mark."""
OTHER_WORDS = {
    "a localiser": r"loc(a?li[sz]er|alizador|alisateur)?|lokali[sz]er|scout|survey|3 ?(pl|plane)|topogram|rep[eé]rage",
    "diffusion": (
        r"dwi|dti|dki|diff|diffusion|diffusione|difusi[oó]n|[ed]?adc|trace ?w?g?|b ?[1-3]?[05]00|tensor|resolve"
    ),
    "perfusion": (
        r"perf|perfusione?|perfusi[oó]n|pwi|dsc|dce|p?c?asl|twist|tricks|4d|r?cb[fv]|mtt|ttp|ktrans|grasp|time ?points?"
    ),
    "functional MRI": r"bold|fmri|resting",
    "susceptibility": (
        r"swi|swan|swip|h[ae]?emo|t2w? ?\*|t2 ?star|t2 ?stern|venobold|venbold|(mag|pha) images|m?inip|qsm"
    ),
    "an angiography": r"tof|mra|mrv|angiog?r?[a-z]*|inhance|venc|phase ?contrast|pc ?3d|3d ?pc|pca|qflow|vessel ?wall",
    "spectroscopy": r"svs|csi|mrs|spectro[a-z]*|spektro[a-z]*|press",
    "a balanced gradient echo": r"ciss|fiesta|b ?ffe|btfe|bssfp|trufi|true ?fisp",
    "a subtraction": r"sub(?![- ]?\d)|subtr[a-z]*|subst?raktion|soustraction|sottrazione|resta",
    "a field map": r"field ?map(ping)?|b[01] ?map|calib[a-z]*|asset ?cal|sense ?ref[a-z]*|ref ?scan",
    "a map of a time": r"t[12]\*? ?map(ping)?|synthetic|magic",
    "an inversion image of MP2RAGE": r"inv ?[12]",
    "short inversion, as for fat": r"stir|tirm ?fs",
    "double inversion": r"dir|double ?inversion[a-z ]*",
    "a projection": r"mip|vrt|pjn",
}
"""Words that say what else a series is."""
PROTON_DENSITY = r"pdw?|dp|proton ?dens[a-z]*|protonendichte"
"""Where times are said, they tell the echoes of one series apart."""
THREE_D = r"mp ?rage|space|spc|cube|vista|brainview|bravo|vibe|f?spgr|tfe|isotropic|iso|3d"
REFORMATION = (
    rf"reform[a-z]*|rekonstr[a-z]*|mpr ?range|(?:{THREE_D})\b.*\bmpr|^mpr|mprs?\b.*\b(?:t[12]|flair)|mprs|curved"
)
"""`t1_mpr_sag` alone is how Siemens calls MPRAGE."""
CONTRAST = "|".join(re.escape(word) for word in WORDS["contrast"].split())
WITHOUT = "without|w ?/ ?o|wo|ohne|sans|sin|sem|senza|non|no|vor|avant|before|antes(?: de)?|prima(?: di)?"
BEFORE_CONTRAST = (
    r"pre(?![ -]?(?:op|surg|rt|radio|chemo))|pr[eé][ -]?(?:contrast[a-z]*|gd|gado?|km|inj[a-z]*)|nativ[aeo]?|plain|"
    rf"unenhanced|non ?enhanced|vorher|(?:{WITHOUT})(?: de| di| del| iv| i\.v\.)?[ -]?(?:c|{CONTRAST})"
)
NO_AGENT = frozenset(
    {"", "no", "none", "n", "0", "nil", "unknown", "without", "without contrast", "keins", "nein", "non", "null", "n/a"}
)
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
    if weighting == "t2w" and not times.inversion_ms and _is_inverted(header):
        return Role("t2f", f"{why}, inversion recovery")
    if weighting == "t1n" and _is_after_contrast(header):
        return Role("t1c", f"{why}, with contrast medium")
    return Role(weighting, why)


def has_agent(header: Any) -> bool:
    """Whether a header names a contrast medium."""
    agent = str(_found(header, "ContrastBolusAgent") or "").strip().lower()
    if agent not in NO_AGENT:
        return True
    return any(value_of(item, "CodeMeaning") for item in value_of(header, "ContrastBolusAgentSequence") or ())


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
        """From a header of either kind; a short inversion time without an inversion sequence is that of a fat pulse."""
        sequence = {str(word).upper() for word in _values(header, "ScanningSequence")}
        echo_kind = str(_found(header, "EchoPulseSequence") or "").upper()
        inversion = _number(header, "InversionTime", "InversionTimes")
        is_fat_pulse = inversion is not None and inversion < 400 and bool(sequence) and "IR" not in sequence
        return cls(
            repetition_ms=_number(header, "RepetitionTime"),
            echo_ms=_number(header, "EchoTime", "EffectiveEchoTime"),
            inversion_ms=None if is_fat_pulse else inversion,
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
        if self.is_gradient_echo:
            return ("t1n", said) if te <= 12 else (None, f"a gradient echo with a long echo ({said}), as T2*")
        if ti >= 1400 and te >= 60 and (tr is None or tr > 3500):
            return "t2f", said
        if 0 < ti < 400 and te > 5:
            return None, f"short inversion time ({said}), as for fat"
        if te >= 60 and (tr is None or tr > 1900) and ti < 400:
            return "t2w", said
        if te <= 35 and (400 <= ti < 1400 or (not ti and tr is not None and tr <= 1400)):
            return "t1n", said
        return None, f"neither T1, T2 nor FLAIR ({said})"


def _left_out(header: Any, n_slices: int) -> str:
    """Why a series is none of the four, before its times are looked at; "" where it may be one."""
    if str(_found(header, "Modality") or "MR") != "MR":
        return f"no MR image ({_found(header, 'Modality')})"
    if (_number(header, "SamplesPerPixel") or 1) > 1:
        return "coloured, so made from other images"
    image_type = [str(word).strip().upper() for word in _values(header, "ImageType")]
    said = _other_words(header) or _other_part(image_type)
    derived = sorted(NOT_MEASURED.intersection(image_type))
    if said:
        return said
    if derived:
        return f"computed from other images ({', '.join(derived).lower()})"
    if _number(header, "DiffusionBValue") or _found(header, "AcquisitionContrast") == "DIFFUSION":
        return "diffusion"
    if _found(header, "AngioFlag") == "Y":
        return "an angiography"
    return f"{n_slices} slice{'s' if n_slices != 1 else ''} only" if n_slices < LEAST_SLICES else ""


def _other_words(header: Any) -> str:
    """What else its description says that it is, or, without one of the four in that, its protocol."""
    for text in _texts(header)[:2]:
        if _says(REFORMATION, text):
            return "a reformation"
        for what, pattern in OTHER_WORDS.items():
            if _says(pattern, text):
                return what
        if role_of_name(text) in MODALITIES:
            return ""
    return ""


def _other_part(image_type: list[str]) -> str:
    further = set(image_type[2:])
    return next((what for what, values in OTHER_PARTS.items() if values & further), "")


def _is_inverted(header: Any) -> bool:
    """Whether a series without an inversion time has an inversion all the same."""
    sequence = {str(word).upper() for word in _values(header, "ScanningSequence")}
    told = next((role for text in _texts(header) if (role := role_of_name(text)) in MODALITIES), None)
    return told == "t2f" or (told is None and "IR" in sequence) or _found(header, "InversionRecovery") == "YES"


def _by_words(header: Any) -> Role:
    for text in _texts(header):
        role = role_of_name(text)
        if role in MODALITIES:
            if _says(PROTON_DENSITY, text):
                return Role(None, f'called "{_line(text)}", and its echo time is not said')
            if role in ("t1n", "t1c"):
                role = "t1c" if _is_after_contrast(header) else "t1n"
            return Role(role, f'called "{_line(text)}"')
    return Role(None, "neither its times nor its name say what it is")


def _is_after_contrast(header: Any) -> bool:
    """What words say comes first: an agent may stand in the headers of a whole study."""
    for text in _texts(header)[:2]:
        if _says(BEFORE_CONTRAST, text):
            return False
        if role_of_name(text) == "t1c" or role_of_name(f"t1 {text}") == "t1c":
            return True
    return has_agent(header)


def _says(pattern: str, text: str) -> bool:
    """Whether these words stand in it, not within others."""
    words = re.sub(r"[_\s]+", " ", text.lower()).strip()
    return re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z0-9])", words) is not None


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _texts(header: Any) -> list[str]:
    return [str(text) for name in LOOKED_AT if (text := _found(header, name))]


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
    if (value := value_of(header, name)) is not None:
        return value
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(value_of(header, groups) or ())[:1]:
            for inner in inner_of(group):
                if (value := value_of(inner, name)) is not None:
                    return value
    return None
