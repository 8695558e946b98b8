"""The files of a case put in place all or none, by one writer at a time; what killed writers left is cleared.

A writer holds the lock ``.writing_<case_id>.lock`` and fills the folder ``.writing_<case_id>``. When all is there it
notes so in that folder and moves the files, ``<case_id>_prediction.json`` last: where that lies, the rest is whole. The
system frees the lock of a killed process; the next to take it moves what is left to move, or removes it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from ProtoSegBrainLib.files import check_folder, clear_partial, is_old, locked, write_whole
from ProtoSegBrainLib.labels import SHORT_NAMES

ENDINGS = {
    "seg": "_seg.nii.gz",
    "prob": "_prob.nii.gz",
    "sim": "_sim.nii.gz",
    "unc": "_unc.nii.gz",
    "prediction": "_prediction.json",
}
REPORT_ENDING = "_report.html"
SCENE_ENDING = "_scene.mrb"
SCREENSHOT_ENDING = "_screenshot.png"
BRAIN_ENDING = "_brain.nii.gz"
ON_ENDING = {role: f"_seg_on_{name}.nii.gz" for role, name in SHORT_NAMES.items()}
"""Of the label on the grid of another image, by role."""
MOVE_ENDING = {role: f"_{name}_to_t1ce.tfm" for role, name in SHORT_NAMES.items() if role != "t1c"}
"""Of the transform that moves an image onto T1ce, by role."""
DICOM_ENDING = "_dicom"
"""Of a folder of DICOM objects."""
NATIVE_ENDINGS = (BRAIN_ENDING, *ON_ENDING.values(), *MOVE_ENDING.values(), DICOM_ENDING)
ALL_ENDINGS = (*ENDINGS.values(), REPORT_ENDING, SCENE_ENDING, SCREENSHOT_ENDING, *NATIVE_ENDINGS)
LAST = ENDINGS["prediction"]
HIDDEN, LOCK = ".writing_", ".lock"
OLDER_HIDDEN = (HIDDEN, ".segmenting_")
"""Of folders that older versions left, which held no lock."""
WHOLE = "whole.json"
"""In the hidden folder, once all files are there: their endings."""
CLEARED_WITHIN_S = 0.2
"""As long as one who clears away may hold a lock."""
LONGEST_NAME = 255
"""Bytes of a file's name, on all systems of today."""


class BusyError(FileExistsError):
    """Another writer is at work on the case."""


class Writer:
    """The only one who writes files of a case into a folder, as long as its block lasts.

    The folder is made when the block begins, and is gone after it if nothing came to lie there.

    Args:
        case_id: Of the case.
        out_dir: Folder for the files.
        inputs: Files of the case itself: they are never replaced, and their folder takes no results, which would be
            found there in place of the expert's label.
        apart_from: A folder that holds the case alone, which takes no results below it either.

    Raises:
        BusyError: When the block begins: another writer is at work on the case.
        ValueError: ``case_id`` cannot be a file's name; what ``check_folder`` raises.
        FileExistsError: ``out_dir`` is or lies below a file, or is a folder of the case itself.
    """

    def __init__(
        self,
        case_id: str,
        out_dir: str | os.PathLike[str],
        *,
        inputs: Iterable[str | os.PathLike[str]] = (),
        apart_from: Path | None = None,
    ) -> None:
        _check_name(case_id)
        check_folder(out_dir)
        self.case_id = case_id
        self.out_dir = Path(out_dir)
        self._check_apart([Path(path) for path in inputs], apart_from)
        self._hidden = self.out_dir / f"{HIDDEN}{case_id}"
        self._block = contextlib.ExitStack()
        self._may_replace = False

    def __enter__(self) -> Writer:
        with contextlib.ExitStack() as block:
            block.enter_context(_made(self.out_dir))
            try:
                lock = self._hidden.with_name(f"{self._hidden.name}{LOCK}")
                block.enter_context(locked(lock, CLEARED_WITHIN_S))
            except BlockingIOError as error:
                raise BusyError(
                    f"Another run is at work on case {self.case_id} in {self.out_dir} ({error}). Wait for it, or "
                    "choose another folder."
                ) from error
            self._may_replace = self._finish()
            self._block = block.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._block.close()

    def path(self, ending: str) -> Path:
        """Where a file of the case belongs."""
        return self.out_dir / f"{self.case_id}{ending}"

    def check_older(self, *, overwrite: bool) -> None:
        """Refuse to replace an earlier result; what a killed writer left half in place is none.

        Raises:
            FileExistsError: There are files of the case, and ``overwrite`` is False.
        """
        present = sorted(path.name for path in map(self.path, ALL_ENDINGS) if path.exists())
        if present and not overwrite and not self._may_replace:
            raise FileExistsError(
                f"The output folder {self.out_dir} already holds results of case {self.case_id} "
                f"({', '.join(present)}). Choose another folder, or overwrite them (--overwrite)."
            )

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder to fill; when the block ends without error, its files take the place of all there were of the case.

        Raises:
            OSError: They could not be written; the message says where, and how much room is left.
        """
        try:
            self._hidden.mkdir()
            yield self._hidden
            there = [ending for ending in ALL_ENDINGS if (self._hidden / f"{self.case_id}{ending}").exists()]
            write_whole(self._hidden / WHOLE, json.dumps(there))
            self._put_in_place()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free_mb = shutil.disk_usage(self.out_dir).free / 1e6
            raise OSError(
                f"The result of case {self.case_id} could not be written to {self.out_dir}: {error.strerror}, "
                f"{free_mb:.0f} MB are free. Make room, or choose another folder."
            ) from error
        finally:
            shutil.rmtree(self._hidden, ignore_errors=True)

    def _check_apart(self, inputs: list[Path], apart_from: Path | None) -> None:
        out = self.out_dir.resolve()
        own = {path.resolve() for path in inputs}.intersection(self.path(ending).resolve() for ending in ALL_ENDINGS)
        if own:
            raise FileExistsError(f"{own.pop()} is a file of case {self.case_id} itself; choose another output folder.")
        if out in {path.resolve().parent for path in inputs}:
            check_apart(out, out)
        if apart_from is not None:
            check_apart(out, apart_from)

    def _finish(self) -> bool:
        """Do what a killed writer had begun; whether it had left the files of the case half in place."""
        was_half = (self._hidden / WHOLE).is_file() and self._put_in_place()
        shutil.rmtree(self._hidden, ignore_errors=True)
        return was_half

    def _put_in_place(self) -> bool:
        """Move what still waits in the hidden folder; whether anything did. Where this is interrupted it can go on."""
        endings = json.loads((self._hidden / WHOLE).read_text(encoding="utf-8"))
        waiting = [ending for ending in endings if (self._hidden / f"{self.case_id}{ending}").exists()]
        if LAST in waiting:
            self.path(LAST).unlink(missing_ok=True)
        for ending in set(ALL_ENDINGS).difference(endings):  # of an older result
            _remove(self.path(ending))
        for ending in sorted(waiting, key=lambda ending: ending == LAST):
            if self.path(ending).is_dir():  # a folder takes no other's place
                _remove(self.path(ending))
            os.replace(self._hidden / f"{self.case_id}{ending}", self.path(ending))
        return bool(waiting)


def _remove(path: Path) -> None:
    """A file or a folder, where it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_apart(out_dir: Path, own: Path) -> None:
    """Refuse an output folder that is, or lies in, a folder of images.

    Raises:
        FileExistsError: It does.
    """
    out, own = out_dir.resolve(), own.resolve()
    if out == own or own in out.parents:
        where = "is" if out == own else "lies in"
        raise FileExistsError(
            f"The output folder {out_dir} {where} the folder of the images, {own}, where a result would be taken for "
            "the expert's label; choose another."
        )


def clear_left(out_dir: Path) -> None:
    """Finish or remove what killed writers left in a folder, whatever their case; the living are left alone."""
    for lock in out_dir.glob(f"{HIDDEN}*{LOCK}"):
        with contextlib.suppress(OSError, ValueError), Writer(lock.name[len(HIDDEN) : -len(LOCK)], out_dir):
            pass
    for prefix in OLDER_HIDDEN:
        for left in out_dir.glob(f"{prefix}*"):
            if left.is_dir() and is_old(left) and not left.with_name(f"{left.name}{LOCK}").exists():
                shutil.rmtree(left, ignore_errors=True)
    clear_partial(out_dir)


def _check_name(case_id: str) -> None:
    if case_id in ("", ".", "..") or Path(case_id).name != case_id or "\0" in case_id:
        raise ValueError(f"A case_id names the output files; expected a plain name, got {case_id!r}.")
    size = max(len(os.fsencode(f"{case_id}{ending}")) for ending in ALL_ENDINGS)
    if size > LONGEST_NAME:
        raise ValueError(
            f"The case_id {case_id[:32]}... is too long: with its ending a file's name would have {size} bytes, and "
            f"{LONGEST_NAME} are the most. Rename the case."
        )


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder and those above it; what was made and stayed empty is removed."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for place in made:
            with contextlib.suppress(OSError):  # it holds something
                place.rmdir()
