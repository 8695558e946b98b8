"""Which file is which, told by its name: role, case, and which of two is preferred; no image is opened here.

A name is cut into words; the table ``WORDS`` says what they mean, and the rules of ``_role`` what they make together.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from ProtoSegBrainLib.images.formats import SUFFIXES
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, WORDS, listed

LABEL = "label"
"""The role of the expert's label map, beside those of ``MODALITIES``."""
PREFERRED = (
    "skull-stripped images are preferred",
    "images that are registered or in the space of an atlas are preferred",
    "images without correction of bias field or intensities, as in BraTS, are preferred",
    "3-D sequences are preferred",
    "axial slices are preferred",
)
"""What the places of an image's ``rank`` mean, most important first."""
ONE_KIND = "all four images should be of one kind"
N_KIND = 3
"""So many of these places should be equal in the four images of a case."""
EXPECTED = (
    "Expected names such as case_flair.nii.gz, case_t1.nii.gz, case_t1ce.nii.gz, case_t2.nii.gz; other names can be "
    "given by role."
)


@dataclass(frozen=True)
class Told:
    """What a name tells.

    Attributes:
        role: A modality, ``LABEL``, or None.
        case_id: What names the patient, before the words of the sequence; or "".
        behind: What stands behind them and may name the patient; or "".
        rank: Of images of one role, those of higher rank are preferred (``PREFERRED``); of labels likewise.
        is_other: Whether a word says that it is something else: a map, a mask, another sequence.
    """

    role: str | None
    case_id: str = ""
    behind: str = ""
    rank: tuple[int, ...] = ()
    is_other: bool = False


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case, before any is opened.

    Attributes:
        case_id: Names the outputs.
        place: The folder, or the 4-D file; of one of several cases in a folder, the folder and the case's name.
        images: By role; the same file for all roles where it is 4-D.
        channels: Roles in the order of a 4-D file; () where each role has a file.
        label: The expert's label, if there is one.
        coding: The coding of that label where its place tells it, a key of ``LABEL_CONVENTIONS``.
        remarks: Sentences on how the files were chosen.
        fault: Why the case cannot be read, in a sentence; "" where nothing is known against it.
        label_fault: The same of the label alone.
        absence: Which modalities have no file, in a sentence; "" where all four are there.
        namesakes: Places of all cases of this name, where there are several.
    """

    case_id: str
    place: Path
    images: Mapping[str, Path] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    label: Path | None = None
    coding: str | None = None
    remarks: tuple[str, ...] = ()
    fault: str = ""
    label_fault: str = ""
    absence: str = ""
    namesakes: tuple[Path, ...] = ()

    @property
    def problem(self) -> str:
        """Why the case cannot be one of its data folder's; "" where nothing is known against it."""
        places = " and ".join(map(str, self.namesakes))
        twice = f"Several cases are called {self.case_id}: {places}; rename all but one." if self.namesakes else ""
        return " ".join(filter(None, (twice, self.fault, self.absence)))

    def check(self, *, with_label: bool, may_lack: bool = False) -> None:
        """Raise what is known against reading the case; where it ``may_lack`` modalities, not that some are absent.

        Raises:
            FileNotFoundError: A modality is missing.
            ValueError: Any other problem.
        """
        problem = replace(self, absence="").problem if may_lack and self.images else self.problem
        if problem:
            raise (ValueError if set(MODALITIES) <= set(self.images) else FileNotFoundError)(problem)
        if with_label and self.label_fault:
            raise ValueError(self.label_fault)


Named = tuple[Told, Path]
"""A file and what its name tells."""


def role_of_name(name: str) -> str | None:
    """The role (``LABEL`` among them) that a name gives: of a file, of an image in memory, of a DICOM series."""
    return told_by(name).role


@lru_cache(maxsize=4096)
def told_by(name: str) -> Told:
    """All that a name tells."""
    stem = unicodedata.normalize("NFC", stem_of(name))
    bids = _BIDS.match(stem)
    text = _BIDS_PLACES.sub("", "_" + stem[bids.end() :]) if bids else stem
    split = _split(text)
    words = [word for word, _ in split]
    role, is_other = _role(words)
    case_id, behind = (bids[1] + bids[2], "") if bids else _case_id(text, split)
    rank = _label_rank(words) if role == LABEL else _rank(words)
    return Told(role, case_id, behind, rank, is_other)


def told_by_end(name: str) -> Told:
    """The same by the last word alone: "P01_T2_flair" is a FLAIR of P01_T2, whatever stands in front."""
    front, _, last = re.sub(r"[-_. ]+(?=[^-_. ]*$)", "\0", stem_of(name)).rpartition("\0")
    told = told_by(last)
    return Told(told.role, front, "", told.rank, told.is_other)


def chosen(images: Sequence[Named]) -> tuple[dict[str, Path], list[str], dict[str, list[Path]]]:
    """One image for each role, by their ranks and so that the four are of one kind.

    Returns:
        Files by role; remarks on what was left; the files by role between which nothing decides.
    """
    by_role: dict[str, list[Named]] = defaultdict(list)
    for told, file in images:
        by_role[str(told.role)].append((told, file))
    kinds = Counter(kind for some in by_role.values() for kind in {told.rank[:N_KIND] for told, _ in some})
    best, twins = {}, {}
    left: dict[str, list[tuple[str, Path, Path]]] = defaultdict(list)
    for role in sorted(by_role, key=MODALITIES.index):
        some = sorted(by_role[role], key=lambda each: (kinds[each[0].rank[:N_KIND]], each[0].rank), reverse=True)
        (told, best[role]), equal = some[0], [file for other, file in some if other.rank == some[0][0].rank]
        if len(equal) > 1:
            twins[role] = sorted(equal)
        for other, file in some:
            differing = (n for n, (a, b) in enumerate(zip(told.rank, other.rank, strict=False)) if a != b)
            if (n := next(differing, None)) is not None:
                left[PREFERRED[n] if told.rank > other.rank else ONE_KIND].append((role, best[role], file))
    return best, [_remark(why, *each) for why, each in left.items()], twins


def best_labels(labels: Iterable[Named]) -> list[Path]:
    """Those of highest rank: corrected by hand before made by a machine."""
    found = list(labels)
    highest = max((told.rank for told, _ in found), default=())
    return sorted(file for told, file in found if told.rank == highest)


def case_id_of(files: Sequence[Path]) -> str:
    """The patient's name that files share, or else that of the first one's folder."""
    return shared_name([(told_by(file.name), file) for file in files]) or name_of_folder(files[0].parent)


def shared_name(images: Iterable[Named]) -> str:
    names = {what.case_id for what, _ in images}
    return names.pop() if len(names) == 1 else ""


def name_of_folder(folder: Path) -> str:
    """A folder's name; where that says nothing of a patient ("anat", "T1"), of the one above."""
    folder = folder.resolve()
    names = (place.name for place in (folder, *folder.parents))
    return next((name for name in names if name and not is_generic(name)), folder.name)


def is_generic(name: str) -> bool:
    """Whether a folder's name has no word that can be a patient's: "anat", "T1", "raw scans"."""
    return all(_SAYS.get(word, frozenset()) & _NO_NAME for word, _ in _split(name))


def stem_of(name: str) -> str:
    """A file's name without the suffix of an image; any other name as it is."""
    lower = name.lower()
    suffix = max((suffix for suffix in SUFFIXES if lower.endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)]


def names_of(roles: Iterable[str]) -> str:
    """The modalities for people: "T1ce, FLAIR"; "" of none."""
    return ", ".join(MODALITY_NAMES[role] for role in roles)


def too_many(place: Path, what: str, files: Sequence[Path]) -> str:
    """A sentence; "" of no file."""
    if not files:
        return ""
    names = [file.name for file in files]
    where = names if len({*names}) == len(names) else list(map(str, files))
    return f"{place}: {'two' if len(files) == 2 else len(files)} files for {what}: {listed(where)}; expected one."


def _remark(why: str, *left: tuple[str, Path, Path]) -> str:
    roles = list(dict.fromkeys(MODALITY_NAMES[role] for role, _, _ in left))
    _, taken, other = left[0]
    more = " and so on" if len(left) > 1 else ""
    return f"Of several files for {listed(roles)}, {taken.name} was taken, not {other.name}{more}: {why}."


# --- words ---

_SAYS: dict[str, frozenset[str]] = {}
for _meaning, _listed in WORDS.items():
    for _word in _listed.split():
        _SAYS[_word] = _SAYS.get(_word, frozenset()) | {_meaning}

_SEQUENCES = frozenset({"t1", "t1n", "t1c", "t2", "flair", "kind of t1"})
_PERHAPS = {"perhaps t1": "t1n", "perhaps t1c": "t1c", "perhaps t2": "t2w", "perhaps flair": "t2f"}
_DECIDES = _SEQUENCES | _PERHAPS.keys() | {"other", "label", "perhaps label", "star"}
_MADE = frozenset({"stripped", "unstripped", "atlas", "raw", "corrected", "3d", "axial", "other plane"})
_NO_NAME = _DECIDES | _MADE | {"contrast", "between", "nothing"}
_OF_LABELS = frozenset({"manual", "automatic", "tumour", "no tumour"})
_TOKEN = re.compile(
    r"\+\s?(?:(?:ce|c|gd|gad|gado|km|mdc)(?![a-z0-9])|(?![a-z0-9]))|(?<![a-z0-9])c[+-](?![a-z0-9])|t[12]w?\s?\*|w/o|[^\W_]+",
    re.IGNORECASE,
)
_SIGNS = {"c+": "contrast", "c-": "nothing", "w/o": "without"}
_PAIRS = {"darkfluid", "dafl", "groundtruth", "skullstripped", "skullstrip", "brainmask", "mprage", "t2star"}
_BIDS = re.compile(r"(sub-[a-zA-Z0-9]+)((?:_ses-[a-zA-Z0-9]+)?)(?=_|$)")
_BIDS_PLACES = re.compile(r"_(?:run|echo|space|res|den|from|to|mode|task|dir|part|chunk)-[a-zA-Z0-9]+")


def _split(text: str) -> list[tuple[str, re.Match[str]]]:
    """Words as the table has them, and where each stands; several of one token, one of several ("dark fluid")."""
    found: list[tuple[str, re.Match[str]]] = []
    for match in _TOKEN.finditer(text):
        for word in _words_of(match.group().lower()):
            if found and found[-1][0] + word in _PAIRS:
                found[-1] = (found[-1][0] + word, match)
            else:
                found.append((word, match))
    return found


def _bare(token: str) -> str:
    """Without accents; signs as words."""
    if token.startswith("+"):
        return "contrast"
    if "*" in token:
        return "t2star"
    for letter, plain in {"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue"}.items():
        token = token.replace(letter, plain)
    plain = "".join(c for c in unicodedata.normalize("NFKD", token) if not unicodedata.combining(c))
    return _SIGNS.get(plain, plain)


@lru_cache(maxsize=4096)
def _words_of(token: str) -> tuple[str, ...]:
    """The known words of which a token is made ("t2flairax", "seg2"), or the token itself."""
    token = _bare(token)
    known = token.rstrip("0123456789")
    if token in _SAYS:
        return (token,)
    if known in _SAYS and len(known) > 1:
        return (known,)
    parts = _parts(known)
    if parts and any(_SAYS[part] & (_SEQUENCES | {"other"}) for part in parts):
        return tuple(parts)
    return ("flair" if "flair" in token else token,)


def _parts(token: str, *, is_first: bool = True) -> list[str] | None:
    """Known words of two letters and more that make up a token; the longest first. A last "c" may follow a T1."""
    if not token:
        return []
    begin = _SEQUENCES | {"contrast", "not", "axial", "other plane", "3d"}
    for length in range(len(token), 1, -1):
        says = _SAYS.get(token[:length], frozenset())
        if not (says & begin if is_first else says):
            continue
        if says & {"t1", "kind of t1"} and token[length:] == "c":
            return [token[:length], "c"]
        rest = _parts(token[length:], is_first=False)
        if rest is not None:
            return [token[:length], *rest]
    return None


def _case_id(text: str, split: Sequence[tuple[str, re.Match[str]]]) -> tuple[str, str]:
    """What stands before the first word that decides, less words that name no patient; and what stands behind it."""
    at = next((n for n, (word, _) in enumerate(split) if _SAYS.get(word, frozenset()) & _DECIDES), len(split))
    before = list(split[:at])
    if split and split[0][0] == "vsd":  # BraTS 2012 and 2013 name no patient, only each file
        before = []
    no_name = _NO_NAME | (
        _OF_LABELS if split[at:] and _SAYS[split[at][0]] & {"label", "perhaps label"} else frozenset()
    )
    last = frozenset[str]()
    while before and (says := _SAYS.get(before[-1][0], frozenset())) & no_name:
        if says == {"between"} and not last & {"contrast", "between"}:  # "d" alone may be a patient
            break
        last = says
        before.pop()
    behind = " ".join(match.group() for word, match in split[at:] if word not in _SAYS)
    return (text[: before[-1][1].end()].strip("_-. ") if before else ""), behind


# --- rules ---


def _role(words: Sequence[str]) -> tuple[str | None, bool]:
    """The role, and whether a word says that it is something else."""
    said = [_SAYS.get(word, frozenset()) for word in words]
    every = frozenset[str]().union(*said)
    if "dseg" in words and "tumour" in every:
        return LABEL, False
    if "other" in every:
        return None, True
    is_label = _is_label(said)
    if is_label is not None:
        return (LABEL, False) if is_label else (None, True)
    said = said[: _end(said)]
    telling = [n for n, meanings in enumerate(said) if meanings & _SEQUENCES]
    if not telling:
        guesses = {_PERHAPS[meaning] for meanings in said for meaning in meanings & _PERHAPS.keys()}
        return (guesses.pop() if len(guesses) == 1 else None), "star" in every
    sequence = _sequence([next(iter(said[n] & _SEQUENCES)) for n in telling])
    is_other = any("other behind" in meanings for meanings in said[telling[0] :])
    if is_other or (sequence == "t2" and "star" in every):
        return None, True
    if sequence == "t1" and _has_contrast(words, said, telling[0]):
        sequence = "t1c"
    return {"t1": "t1n", "t2": "t2w", "flair": "t2f"}.get(sequence, sequence), False


def _is_label(said: Sequence[frozenset[str]]) -> bool | None:
    """Whether the name is that of a tumour's label map; None: no word speaks of label maps."""
    at = max((n for n, meanings in enumerate(said) if "label" in meanings), default=None)
    sequences = [n for n, meanings in enumerate(said) if meanings & _SEQUENCES]
    if at is None:
        return True if not sequences and any("perhaps label" in meanings for meanings in said) else None
    is_of_tumour = at == 0 or "no tumour" not in said[at - 1]
    return is_of_tumour and not any(n > at for n in sequences)


def _end(said: Sequence[frozenset[str]]) -> int:
    """Where a name begins to say which image this one was brought to: "T2_to_T1ce", "FLAIR_reg_T1"."""
    first = next((n for n, meanings in enumerate(said) if meanings & (_SEQUENCES | _PERHAPS.keys())), len(said))
    return next((n for n in range(first, len(said)) if said[n] & {"to", "atlas"}), len(said))


def _sequence(found: Sequence[str]) -> str:
    """Of all that a name says: "T1 FLAIR" is T1, "T2 FLAIR" is FLAIR; of others the last that says most."""
    t1s = [each for each in found if each.startswith("t1")]
    last = next((each for each in reversed(found) if each != "kind of t1"), "t1")
    if "flair" in found and not t1s:
        return "flair"
    if last == "t2":
        return "t2"
    return next((each for each in reversed(t1s) if each != "t1"), "t1")


def _has_contrast(words: Sequence[str], said: Sequence[frozenset[str]], t1: int) -> bool:
    """Whether a contrast word belongs to the T1, behind it or close before it, and nothing takes it back."""
    for n, meanings in enumerate(said):
        if not (meanings & {"contrast"} or ("c" in meanings and n > t1)):
            continue
        before = [m for m in said[:n] if "between" not in m]
        is_denied = bool(before) and "not" in before[-1]
        is_of_treatment = words[n] == "post" and n + 1 < len(said) and "treatment" in said[n + 1]
        if all(said[n + 1 : t1]) and not is_denied and not is_of_treatment:
            return True
    return False


def _rank(words: Iterable[str]) -> tuple[int, ...]:
    """How far an image is what the network wants, in the order of ``PREFERRED``."""
    said = {meaning for word in words for meaning in _SAYS.get(word, ())}
    is_3d = bool(said & {"3d", "kind of t1"})
    return (
        -1 if "unstripped" in said else int("stripped" in said),
        int("atlas" in said) - int("raw" in said),
        -int("corrected" in said),
        int(is_3d),
        0 if is_3d else int("axial" in said) - int("other plane" in said),
    )


def _label_rank(words: Iterable[str]) -> tuple[int, ...]:
    said = {meaning for word in words for meaning in _SAYS.get(word, ())}
    return (int("manual" in said) - int("automatic" in said),)
