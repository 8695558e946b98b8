"""The files of a follow-up, put in place all or none.

``followup.json``
    What ``FollowUp.to_dict`` says. It comes last: where it lies, the rest is whole.
``change_<REGION>_<EARLIER>_to_<LATER>_on_<DATE>.nii.gz``
    0 nothing, 1 stayed, 2 new, 3 gone, on the grid of the scan of that date.
``<LATER>_to_<FIRST>.tfm``
    Lays the later scan on the first one (preparation/transforms.py).
``followup.html``
    The report, where its writer is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.followup.follow import FollowUp
from ProtoSegBrainLib.images.formats import write_volume
from ProtoSegBrainLib.images.nifti import RESULT_MARK
from ProtoSegBrainLib.preparation.transforms import write_transform
from ProtoSegBrainLib.records import read_json, stored
from ProtoSegBrainLib.result.prediction import RESEARCH_USE

SUMMARY, REPORT = "followup.json", "followup.html"
HIDDEN = ".writing_followup"


def write_followup(
    followup: FollowUp,
    out_dir: str | os.PathLike[str],
    overwrite: bool = False,
    write_report: Callable[[FollowUp, Path], object] | None = None,
) -> dict[str, Path]:
    """Write the files of a follow-up; returns their paths by name without the ending.

    Args:
        followup: What to write.
        out_dir: Folder for the files.
        overwrite: Whether to replace an earlier follow-up there.
        write_report: Writes the report into a file (``pictures.followup.write_followup_report``).

    Raises:
        FileExistsError: There is a follow-up already.
        OSError: They could not be written; nothing of them lies there then.
    """
    out = Path(out_dir)
    check_new(out, overwrite)
    with _hidden(out) as folder:
        for each in followup.maps:
            earlier, later = (followup.visits[n].name for n in (each.earlier, each.later))
            for volume, name in ((each.on_earlier, earlier), (each.on_later, later)):
                path = folder / f"change_{each.region}_{earlier}_to_{later}_on_{name}.nii.gz"
                write_volume(path, volume, description=f"{RESULT_MARK} change, research use only")
        first = followup.visits[0].name
        for visit, registration in zip(followup.visits[1:], followup.registrations[1:], strict=True):
            write_transform(registration.motion, folder / f"{visit.name}_to_{first}.tfm")
        if write_report is not None:
            write_report(followup, folder / REPORT)
        names = sorted(path.name for path in folder.iterdir())
        summary = {"statement": RESEARCH_USE, **followup.to_dict(), "files": names}
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        _remove(out)
        for name in [*names, SUMMARY]:
            os.replace(folder / name, out / name)
    return {name.split(".")[0] if name != REPORT else "report": out / name for name in [*names, SUMMARY]}


def check_new(out: Path, overwrite: bool) -> None:
    """Refuse to replace an earlier follow-up.

    Raises:
        FileExistsError: There is one, and ``overwrite`` is False.
        ValueError: What ``check_folder`` raises.
    """
    check_folder(out)
    if (out / SUMMARY).exists() and not overwrite:
        raise FileExistsError(
            f"The output folder {out} already holds a follow-up. Choose another folder, or overwrite it (--overwrite)."
        )


def read_followup(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``followup.json`` says.

    Raises:
        FileNotFoundError: There is no follow-up in the folder.
        ValueError: It is none of ours.
    """
    path = Path(folder) / SUMMARY
    if not path.is_file():
        raise FileNotFoundError(f"There is no follow-up in {folder}: no file {SUMMARY}.")
    try:
        content: dict[str, Any] = stored(read_json(path), dict[str, Any])
    except ValueError as error:
        raise ValueError(f"{path} is not a follow-up of ProtoSegBrain: {error}") from error
    missing = {"visits", "regions", "sentences", "registrations"} - set(content)
    if missing:
        raise ValueError(f"{path} is not a follow-up of ProtoSegBrain: it lacks {', '.join(sorted(missing))}.")
    return content


def _remove(out: Path) -> None:
    """Remove an earlier follow-up, its summary first, so that none is ever there in part."""
    try:
        names = read_followup(out).get("files", [])
    except (FileNotFoundError, ValueError):
        names = []
    (out / SUMMARY).unlink(missing_ok=True)
    for name in names:
        if Path(name).name == name:
            (out / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _hidden(out: Path) -> Iterator[Path]:
    """A folder to fill, gone afterwards."""
    folder = out / HIDDEN
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
