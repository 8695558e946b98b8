"""Which file is which: roles and cases, told by names alone; no image is opened here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ProtoSegBrainLib.images.volume import SUFFIXES
from ProtoSegBrainLib.labels import (
    CONTRAST_TOKENS,
    LABEL_TOKENS,
    MODALITIES,
    MODALITY_ALIASES,
    MODALITY_NAMES,
    NO_CONTRAST_TOKENS,
    OTHER_TOKENS,
)

_ROLE_OF_TOKEN = {token: role for role, tokens in MODALITY_ALIASES.items() for token in tokens}
_ROLE_OF_TOKEN |= dict.fromkeys(LABEL_TOKENS, "label")


def list_cases(data_folder: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """Cases of a data folder as (case_id, what ``read_case`` takes), sorted; no image is opened.

    The folder holds a folder per case, or is a case itself, or has the Decathlon's ``imagesTr``.

    Raises:
        FileNotFoundError: No such folder, or no case in it.
        ValueError: Two files for one role, or two cases of one name.
    """
    folder = Path(data_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    if (folder / "imagesTr").is_dir():
        cases = [(stem_of(file.name), file) for file in _image_files(folder / "imagesTr")]
    else:
        cases = []
        for candidate in [folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())]:
            found, _ = files_by_role(candidate)
            images = [file for role, file in found.items() if role in MODALITIES]
            if images:
                cases.append((case_id_of(candidate, images), candidate))
    if not cases:
        raise FileNotFoundError(f"{folder}: no case found; expected a folder per case, or imagesTr with 4-D files.")
    by_id: dict[str, Path] = {}
    for case_id, place in cases:
        if by_id.setdefault(case_id, place) != place:
            raise ValueError(f"{folder}: two cases are called {case_id}: {by_id[case_id]} and {place}.")
    return cases


def files_by_role(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Files of a folder by role (``label`` among them), and the image files of no role.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Two files for one role.
    """
    found: dict[str, Path] = {}
    others = []
    for file in _image_files(folder):
        role, _ = _role(file.name)
        if role is None:
            others.append(file)
        elif role in found:
            name = MODALITY_NAMES.get(role, role)
            raise ValueError(f"{folder}: two files for {name}: {found[role].name} and {file.name}; expected one.")
        else:
            found[role] = file
    return found, others


def role_of_name(name: str) -> str | None:
    """The role (``label`` among them) that a name gives: of a file, of an image in memory, of a DICOM series."""
    return _role(name)[0]


def case_id_of(folder: Path, files: Iterable[Path]) -> str:
    """What the images' names share before the modality, or else the folder's name; the label's name has no say."""
    prefixes = {_role(file.name)[1] for file in files}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return prefix or folder.resolve().name


def stem_of(name: str) -> str:
    """A file's name without the suffix of an image; any other name as it is."""
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def decathlon_label(path: Path) -> Path | None:
    """The label of a 4-D file of the Medical Segmentation Decathlon: its namesake in ``labelsTr``, if it is there."""
    label = path.parent.parent / "labelsTr" / path.name
    return label if path.parent.name == "imagesTr" and label.is_file() else None


def names_of(roles: Iterable[str]) -> str:
    """The modalities for people: "T1ce, FLAIR"; "" of none."""
    return ", ".join(MODALITY_NAMES[role] for role in roles)


def _image_files(folder: Path) -> list[Path]:
    """All of them, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no file or folder {folder}.")
    hidden = "."  # also the "._name" twins that macOS leaves on shared disks
    return sorted(f for f in folder.iterdir() if f.name.lower().endswith(SUFFIXES) and not f.name.startswith(hidden))


def _role(name: str) -> tuple[str | None, str]:
    """The role that a file name's last telling token gives, and what stands before that token."""
    stem = stem_of(name)
    matches = list(re.finditer(r"[a-z0-9]+", stem.lower()))
    tokens = [match.group() for match in matches]
    at = next((n for n in reversed(range(len(tokens))) if tokens[n] in _ROLE_OF_TOKEN), None)
    if at is None or OTHER_TOKENS.intersection(tokens):
        return None, stem
    role = _ROLE_OF_TOKEN[tokens[at]]
    after = set(tokens[at + 1 :]) | ({"ce"} & set(tokens))  # BIDS writes sub-01_ce-gadolinium_T1w
    if role == "t1n" and after & CONTRAST_TOKENS and not after & NO_CONTRAST_TOKENS:
        role = "t1c"
    return role, stem[: matches[at].start()].rstrip("_-. ")
