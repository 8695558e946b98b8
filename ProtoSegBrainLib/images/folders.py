"""Which cases a folder or a tree of folders holds, and which files are theirs, told by names; no image is opened here.

Every folder is asked for the groups of files that may be cases; groups that belong together are joined on the way up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ProtoSegBrainLib.images import naming
from ProtoSegBrainLib.images.formats import FOREIGN, image_files
from ProtoSegBrainLib.images.naming import LABEL, CaseFiles, Named, Told, stem_of, told_by
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, MSD_CHANNELS, NNUNET_CHANNELS, some_of

CHANNEL = re.compile(r"(.+)_(\d{4})")
IMAGE_FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs", "imagesVal": "labelsVal"}
"""Of the Medical Segmentation Decathlon and nnU-Net, with the folder of the labels."""
LEFT_OUT = (".", "__macosx", "lost+found", "@eadir", "$recycle.bin", "system volume information")
DERIVATIVES = {"derivatives", "sourcedata"}
"""Folders of a BIDS tree whose images are taken only of patients that the tree has no others of."""
PART_OF_RESULT = re.compile(r"(.+)_(seg|prob|sim|unc|brain|seg_on_[a-z0-9]+)")
"""Images of ours, which lie beside their ``_prediction.json``."""


@dataclass(frozen=True)
class _Group:
    """Files that may be one case.

    ``name`` is the patient's by the names of the files, "" where they do not say; ``others`` are files of no role.
    """

    place: Path
    name: str = ""
    images: tuple[Named, ...] = ()
    labels: tuple[Named, ...] = ()
    others: tuple[Path, ...] = ()
    channels: tuple[str, ...] = ()
    coding: str | None = None
    remarks: tuple[str, ...] = ()
    fault: str = ""

    @property
    def roles(self) -> set[str]:
        return set(self.channels) | {str(told.role) for told, _ in self.images}

    @property
    def is_whole(self) -> bool:
        return self.roles == set(MODALITIES)


def list_cases(data: str | os.PathLike[str]) -> list[CaseFiles]:
    """Cases of a data folder and of the folders in it, in the order of their places; no image is opened.

    A folder per case, in any depth (HGG/LGG, BIDS with sessions); the files of a case in several folders; those of
    several cases in one folder; ``imagesTr`` and ``imagesTs`` of the Medical Segmentation Decathlon (4-D files) and of
    nnU-Net (``_0000`` to ``_0003``). A case that cannot be read is listed, too, with its ``problem``.

    Raises:
        FileNotFoundError: No such folder, or no image in it.
    """
    folder = Path(data)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}.")
    groups = [group for group in _groups(folder) if group.roles or group.others or group.fault]
    if not groups:
        raise FileNotFoundError(f"{folder}: no case found; there is: {_what_lies_in(folder)}. {naming.EXPECTED}")
    return _cases(groups)


def find_case(place: str | os.PathLike[str]) -> CaseFiles:
    """The case in a folder, or of a 4-D file, or of several in a folder the one whose name stands behind the folder.

    Raises:
        FileNotFoundError: No such file or folder, or no image in it.
        ValueError: The folder holds several cases.
    """
    path = Path(place)
    if path.is_file():
        return _cases([_of_four_d(path)])[0]
    if path.is_dir():
        cases = list_cases(path)
        cases = [case for case in cases if case.place == path and case.images] or cases
    else:
        cases = list_cases(path.parent) if path.parent.is_dir() and image_files(path.parent) else []
        cases = [case for case in cases if case.place == path]
    if not cases:
        raise FileNotFoundError(f"There is no file or folder {path}.")
    if len(cases) > 1:
        ids = some_of([case.case_id for case in cases])
        advice = f"name one of them, such as {cases[0].place}, or segment all with segment-folder"
        raise ValueError(f"{path} is a data set of {len(cases)} cases: {ids}; {advice}.")
    return replace(cases[0], namesakes=())


# --- groups of files in a folder ---


def _groups(folder: Path, above: frozenset[Path] = frozenset()) -> list[_Group]:
    """What may be cases in a folder and below it, and labels that have no images yet."""
    here = folder.resolve()
    if here in above:  # a link that leads back
        return []
    try:
        files = [file for file in image_files(folder) if not file.is_dir() and not _is_ours(file)]
        folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        return [_Group(folder, fault=f"{folder} cannot be read: {error.strerror or error}.")]
    own = _split(folder, files, is_top=not above)
    below: dict[bool, list[_Group]] = {False: [], True: []}
    for entry in (each for each in folders if not each.name.lower().startswith(LEFT_OUT)):
        below[entry.name in DERIVATIVES] += _groups(entry, above | {here})
    return _joined(folder, own, below[False], below[True], is_top=not above)


def _is_ours(file: Path) -> bool:
    match = PART_OF_RESULT.fullmatch(stem_of(file.name))
    return match is not None and file.with_name(f"{match[1]}_prediction.json").is_file()


def _split(folder: Path, files: Sequence[Path], *, is_top: bool) -> list[_Group]:
    """The files of one folder as cases; files of no case in a group without images."""
    if folder.name in IMAGE_FOLDERS.values() or not files:
        return []
    told = _told(folder, files, is_top=is_top)
    unknown = [file for what, file in told if what.role is None and not what.is_other]
    groups = _numbered(folder, unknown)
    taken = {file for group in groups for file in (*(file for _, file in group.images), *group.others)}
    unknown = [file for file in unknown if file not in taken]
    is_single = len(unknown) == 1 and not groups and not any(what.role in MODALITIES for what, _ in told)
    if folder.name in IMAGE_FOLDERS or is_single:
        groups += [_of_four_d(file) for file in unknown]
        taken |= {*unknown}
    told = [each for each in told if each[1] not in taken]
    plain = _by_patient(folder, told)
    if any(group.is_whole and not naming.chosen(group.images)[2] for group in plain):
        return groups + plain
    last = [(what if what.is_other else naming.told_by_end(file.name), file) for what, file in told]
    ended = _by_patient(folder, last)
    are_cases = [group.is_whole and len(group.images) == len(MODALITIES) for group in ended if group.images]
    return groups + (ended if are_cases and all(are_cases) else plain)


def _told(folder: Path, files: Sequence[Path], *, is_top: bool) -> list[Named]:
    """What each file's name tells, or else the folder's: ``labels/p1.nii``, ``p1_flair.nii/volume.nii``."""
    told = [(told_by(file.name), file) for file in files]
    by_folder = Told(None) if is_top else told_by(folder.name)
    unknown = [file for what, file in told if what.role is None and not what.is_other]
    if by_folder.role == LABEL:
        return [(Told(LABEL, stem_of(f.name), rank=(0,)), f) if f in unknown else (what, f) for what, f in told]
    if by_folder.role and len(unknown) == 1 and not any(what.role in MODALITIES for what, _ in told):
        return [(by_folder, f) if f in unknown else (what, f) for what, f in told]
    return told


def _by_patient(folder: Path, told: Sequence[Named]) -> list[_Group]:
    """Images in one folder by patients: one, unless roles come twice under the names of several."""
    by_name: dict[str, list[Named]] = defaultdict(list)
    for what, file in told:
        if what.role in MODALITIES:
            by_name[what.case_id or what.behind].append((what, file))
    labels = [each for each in told if each[0].role == LABEL]
    others = tuple(file for what, file in told if what.role is None)
    if not _are_several(by_name):
        images = tuple(each for some in by_name.values() for each in some)
        return [_Group(folder, naming.shared_name(images), images, tuple(labels), others)] if told else []
    groups = [_Group(folder, name, tuple(some)) for name, some in by_name.items()]
    return [*groups, _Group(folder, labels=tuple(labels), others=others)]


def _are_several(by_name: Mapping[str, Sequence[Named]]) -> bool:
    """Whether names are those of patients: a role comes twice, and two have more than one, or one has all."""
    roles = {name: {what.role for what, _ in some} for name, some in by_name.items()}
    is_twice = max(Counter(role for each in roles.values() for role in each).values(), default=0) > 1
    rich = [name for name, each in roles.items() if name and len(each) > 1]
    whole = [name for name in rich if len(roles[name]) == len(MODALITIES)]
    return is_twice and (len(rich) > 1 or (len(whole) == 1 and "" not in roles))


# --- the Decathlon and nnU-Net ---


def _numbered(folder: Path, files: Sequence[Path]) -> list[_Group]:
    """nnU-Net's cases: files whose names end in the number of a channel."""
    by_name: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in files:
        if match := CHANNEL.fullmatch(stem_of(file.name)):
            by_name[match[1]][int(match[2])] = file
    order = _channel_order(folder) if by_name else {}
    custom = ", ".join(f"_{n:04d} {MODALITY_NAMES[role]}" for n, role in enumerate(NNUNET_CHANNELS))
    remarks = () if order else (f"The files were taken in the order of nnU-Net's BraTS tasks: {custom}.",)
    order = order or dict(enumerate(NNUNET_CHANNELS))
    groups = []
    for name, files_of in by_name.items():
        if len(files_of) > 1:
            images = tuple((Told(order[n]), file) for n, file in sorted(files_of.items()) if n in order)
            others = tuple(file for n, file in files_of.items() if n not in order)
            labels = _namesakes(folder / name)
            groups.append(_Group(folder, name, images, labels, others, coding="nnunet", remarks=remarks))
    return groups


def _channel_order(folder: Path) -> dict[int, str]:
    """Role by the number of a channel, as ``dataset.json`` says; {} where it does not."""
    for place in (folder, folder.parent):
        try:
            content = json.loads((place / "dataset.json").read_text(encoding="utf-8"))
            named = content.get("channel_names") or content.get("modality")
            roles = {int(number): told_by(str(name)).role or "" for number, name in named.items()}
        except (OSError, ValueError, AttributeError):
            continue
        if sorted(roles.values()) == sorted(MODALITIES):
            return roles
    return {}


def _of_four_d(file: Path) -> _Group:
    """A file of the Decathlon, with its namesake in ``labelsTr``."""
    order = _channel_order(file.parent) or dict(enumerate(MSD_CHANNELS))
    channels = tuple(order[n] for n in sorted(order))
    name = stem_of(file.name)
    return _Group(file, name, ((Told(None, name), file),), _namesakes(file), channels=channels, coding="msd")


def _namesakes(place: Path) -> tuple[Named, ...]:
    """The label of a case in ``imagesTr``."""
    folder = place.parent.parent / IMAGE_FOLDERS.get(place.parent.name, "")
    if place.parent.name not in IMAGE_FOLDERS or not folder.is_dir():
        return ()
    return tuple((Told(LABEL, rank=(0,)), f) for f in image_files(folder) if stem_of(f.name) == stem_of(place.name))


# --- groups in several folders ---


def _joined(folder: Path, own: list[_Group], raw: list[_Group], derived: list[_Group], *, is_top: bool) -> list[_Group]:
    """Parts of one case made one; labels given to the images of their names; what is nobody's left out."""
    if any(group.roles for group in raw):  # a single file beside folders of cases is no 4-D case
        own = [group for group in own if not group.channels]
    groups, labels = _with_derived([*own, *raw], derived)
    parts = [group for group in groups if group.roles and not group.is_whole]
    if _are_one(parts):
        groups = [_union(folder, parts), *(group for group in groups if group not in parts)]
    cases, idle = [g for g in groups if g.roles], [g for g in groups if not g.roles]
    labels += [each for group in idle for each in group.labels]
    here = [group for group in cases if folder == (group.place.parent if group.channels else group.place)]
    is_case = len(here) == 1 and here[0].is_whole
    if is_case:  # below a case, incomplete ones are maps and copies of it
        cases = [group for group in cases if group.is_whole]
    cases, labels = _with_labels(cases, labels, is_alone=len(cases) == len(here) == 1)
    told, beside = told_by(folder.name), own if cases else []
    is_said = not is_top and (told.is_other or told.role == LABEL)
    rest = [g for g in idle if g.fault or (g.others and not is_case and not is_said and g not in beside)]
    return [*cases, *(replace(group, labels=()) for group in rest), _Group(folder, labels=tuple(labels))]


def _with_derived(groups: list[_Group], derived: Sequence[_Group]) -> tuple[list[_Group], list[Named]]:
    """With the derived images of patients that have no others; and the labels of the rest."""
    names = {group.name for group in groups if group.roles}
    twice = {group.name: group.place for group in derived if group.roles and group.name in names}
    for n, group in enumerate(groups):
        if group.roles and group.name in twice:
            remark = f"There are derived images of {group.name}, too, which were not taken: {twice[group.name]}."
            groups[n] = replace(group, remarks=(*group.remarks, remark))
    kept = [group for group in derived if group.roles and group.name not in names]
    return [*groups, *kept], [label for group in derived if group not in kept for label in group.labels]


def _are_one(parts: Sequence[_Group]) -> bool:
    """Whether incomplete groups are one case: no role twice, and one name, or an image in each of some folders."""
    roles = Counter(role for part in parts for role in part.roles)
    if len(parts) < 2 or max(roles.values()) > 1:
        return False
    names = {part.name for part in parts}
    if len(names) == 1 and "" not in names:
        return True
    return len(roles) == len(parts) and (
        len(roles) == len(MODALITIES) or all(told_by(part.place.name).role in MODALITIES for part in parts)
    )


def _union(folder: Path, parts: Sequence[_Group]) -> _Group:
    names = {part.name for part in parts}
    name = names.pop() if len(names) == 1 else ""
    images, labels = [each for part in parts for each in part.images], [each for part in parts for each in part.labels]
    return _Group(folder, name, tuple(images), tuple(labels), tuple(file for part in parts for file in part.others))


def _with_labels(cases: Sequence[_Group], labels: Sequence[Named], is_alone: bool) -> tuple[list[_Group], list[Named]]:
    """Cases without a label get those of their names, or any where there is one case; and what is left."""
    given, left = [], list(labels)
    for case in cases:
        own = [each for each in left if is_alone or (case.name and case.name in (each[0].case_id, each[0].behind))]
        if own and not case.labels:
            case = replace(case, labels=tuple(own))
            left = [each for each in left if each not in own]
        given.append(case)
    return given, left


# --- cases ---


def _cases(groups: Sequence[_Group]) -> list[CaseFiles]:
    """The cases that groups are, with what is wrong with them; in the order of their places."""
    groups, ids = _without_lesser_twins(groups, _case_ids(groups))
    n_in = Counter(group.place for group in groups)
    cases = [
        _case(g, case_id, g.place / case_id if n_in[g.place] > 1 else g.place)
        for g, case_id in zip(groups, ids, strict=True)
    ]
    places = {case_id: tuple(sorted(cases[n].place for n in same)) for case_id, same in _repeated(ids).items()}
    return sorted((replace(c, namesakes=places.get(c.case_id, ())) for c in cases), key=lambda case: case.place)


def _case(group: _Group, case_id: str, place: Path) -> CaseFiles:
    labels = naming.best_labels(group.labels)
    label, label_fault = (labels[0], "") if len(labels) == 1 else (None, naming.too_many(place, "the label", labels))
    about = CaseFiles(case_id, place, {}, group.channels, label, group.coding, group.remarks, group.fault, label_fault)
    if group.fault or group.channels:
        files = dict.fromkeys(group.channels, group.images[0][1]) if group.images else {}
        return replace(about, images=files)
    images, remarks, twins = naming.chosen(group.images)
    faults = [naming.too_many(place, MODALITY_NAMES[role], files) for role, files in twins.items()]
    missing, absence = [role for role in MODALITIES if role not in images], ""
    if missing:
        there = some_of(sorted(file.name for file in (*images.values(), *group.others)))
        which = naming.names_of(missing)
        absence = f"{place}: no file found for {which}; there is: {there}. {naming.EXPECTED}"
    return replace(about, images=images, remarks=(*remarks, *group.remarks), fault=" ".join(faults), absence=absence)


def _case_ids(groups: Sequence[_Group]) -> list[str]:
    """What files are called after, or else the folder; where folders of one name are several, with those above."""
    ids = [group.name or naming.name_of_folder(group.place) for group in groups]
    is_by_files = [bool(group.name) for group in groups]
    for name, same in _repeated(ids).items():
        places = {groups[n].place for n in same}
        of_folders = name in {part for place in places for part in place.absolute().parts}
        is_below = any(place in other.parents for place in places for other in places)
        if all(is_by_files[n] for n in same) and len(places) == len(same) and not of_folders and not is_below:
            for n in same:  # a name that the files of many folders have, and none of the folders, is no patient's
                ids[n], is_by_files[n] = naming.name_of_folder(groups[n].place), False
    for same in _repeated(ids).values():
        common = Path(os.path.commonpath([groups[n].place.absolute() for n in same]))
        for n in (n for n in same if not is_by_files[n]):
            parts = groups[n].place.absolute().relative_to(common).parts
            ids[n] = "_".join([part for part in parts if not naming.is_generic(part)] or [ids[n]])
    return ids


def _without_lesser_twins(groups: Sequence[_Group], ids: Sequence[str]) -> tuple[list[_Group], list[str]]:
    """Of cases of one name, all whole, those of the best kind; and nothing of maps that lie in another folder."""
    kept = dict(enumerate(groups))
    for same in _repeated(ids).values():
        whole = [n for n in same if groups[n].is_whole and not groups[n].channels]
        for n in (n for n in same if whole and not groups[n].roles and not groups[n].fault):
            del kept[n]
        kinds = {n: min(what.rank[: naming.N_KIND] for what, _ in groups[n].images) for n in whole}
        best = max(kinds.values(), default=())
        if len(whole) > 1 and list(kinds.values()).count(best) == 1:
            first = next(n for n in whole if kinds[n] == best)
            for n in (n for n in whole if n != first):
                why = next(why for why, a, b in zip(naming.PREFERRED, best, kinds[n], strict=False) if a != b)
                remark = f"The images in {groups[n].place} were not taken: {why}."
                kept[first] = replace(kept[first], remarks=(*kept[first].remarks, remark))
                del kept[n]
    return list(kept.values()), [ids[n] for n in kept]


def _repeated(ids: Sequence[str]) -> dict[str, list[int]]:
    """Indices of names that come more than once."""
    found: dict[str, list[int]] = defaultdict(list)
    for n, case_id in enumerate(ids):
        found[case_id].append(n)
    return {case_id: same for case_id, same in found.items() if len(same) > 1}


def _what_lies_in(folder: Path) -> str:
    """Files in it and below, and what the first one is that is of a format not read."""
    files = [Path(top) / name for top, _, names in os.walk(folder) for name in names if not name.startswith(".")][:999]
    text = some_of([str(file.relative_to(folder)) for file in sorted(files)])
    for file in files[:9]:
        with contextlib.suppress(OSError), file.open("rb") as opened:
            head = opened.read(512)
            for at, magic, what, advice in FOREIGN:
                if head[at:].startswith(magic):
                    return f"{text} ({file.name} is {what}; {advice})"
    return text
