"""Files that are whole or not there, whatever happens while they are written; the folders they go to; locks."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

PARTIAL = re.compile(r"\.(?P<pid>\d+)@(?P<host>.*)\.[0-9a-f]{32}\.partial")
"""A file that is being written, by whom."""
LONG_AGO_S = 24 * 3600
"""No file takes so long to write: what is older was left by somebody who is gone."""
POLLING_S = 0.05
LOCKED_BYTE = 1 << 30
"""Where Windows, which lets nobody read a locked byte, locks the file: far behind its text."""


# -- folders ---------------------------------------------------------------------------------------------------------


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse an output folder, before the work begins, that could not be made or written to.

    Raises:
        ValueError: It has no name, or one that is too long.
        FileExistsError: It is a file, or lies below one.
        FileNotFoundError: It lies behind a link to a place that is not there.
        PermissionError: Nothing can be written there.
    """
    if not os.fspath(folder).strip():
        raise ValueError("Expected an output folder, got an empty name.")
    nearest = _nearest(Path(folder))
    if not nearest.is_dir():
        raise FileExistsError(f"The output folder {folder} cannot be made: {nearest} is a file; name a folder.")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise PermissionError(
            f"The output folder {folder} cannot be written to ({nearest}: {error.strerror}); choose another."
        ) from error


def check_room(folder: str | os.PathLike[str], needed_bytes: float) -> None:
    """Refuse an output folder without room for what is to come.

    Raises:
        ValueError: Its disk has less room.
    """
    usage = shutil.disk_usage(_nearest(Path(folder)))
    if usage.total and usage.free < needed_bytes:
        raise ValueError(
            f"The output folder {folder} has too little room: about {needed_bytes / 1e6:.0f} MB are needed, "
            f"{usage.free / 1e6:.0f} MB are free there; make room, or choose another."
        )


def _nearest(folder: Path) -> Path:
    """The folder itself, or what there is of the way to it."""
    for place in (folder, *folder.absolute().parents):
        try:
            os.stat(place)
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():
                raise FileNotFoundError(
                    f"The output folder {folder} cannot be made: {place} is a link to {os.readlink(place)}, which is "
                    "not there; is the drive connected?"
                ) from None
        except PermissionError as error:
            raise PermissionError(f"The output folder {folder} cannot be reached: {error.strerror}.") from error
        except OSError as error:
            raise ValueError(f"The output folder {folder} cannot be made: {error.strerror}.") from error
        else:
            return place
    raise FileNotFoundError(f"The output folder {folder} cannot be made: its drive is not there.")


# -- whole files -----------------------------------------------------------------------------------------------------


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file, text as UTF-8, in place of any that is there; its folder must exist."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}@{_host()}.{uuid.uuid4().hex}.partial")
    try:
        # Names of files that are not UTF-8 come back as the bytes they were.
        temporary.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_partial(folder: Path) -> None:
    """Remove what ``write_whole`` left in a folder when its process was killed."""
    for path in folder.glob(".*.partial"):
        with contextlib.suppress(OSError):
            writer = PARTIAL.fullmatch(path.name)
            if is_old(path) or (writer and writer["host"] == _host() and _is_gone(int(writer["pid"]))):
                path.unlink()


def is_old(path: Path) -> bool:
    """Whether it has not been touched for so long that nobody can be at work on it."""
    return time.time() - path.stat().st_mtime > LONG_AGO_S


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", platform.node())


def _is_gone(pid: int) -> bool:
    if sys.platform == "win32":
        return False  # there is no harmless way to ask; age tells
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # of another user
        pass
    return False


# -- locks -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], wait_s: float = 0.0) -> Iterator[None]:
    """Hold a file as a lock, against threads, processes, and machines that share the folder; its folder must exist.

    The system frees the lock when the process ends, however it ends; the file stays only after a kill. Where a file
    system knows no locks, nobody is kept out.

    Raises:
        BlockingIOError: Another holds it, for longer than ``wait_s``; the message says who.
    """
    path, until = Path(path), time.monotonic() + wait_s
    while (descriptor := _try_lock(path)) is None:
        if time.monotonic() >= until:
            raise BlockingIOError(f"{_holder(path)} holds {path}.")
        time.sleep(POLLING_S)
    try:
        yield
    finally:
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """An open file that is locked, or None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # of another user, who may be gone
        descriptor = os.open(path, os.O_RDONLY)
    try:
        # Between opening and locking, the one who held it may have removed the file.
        if _is_locked_now(descriptor) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_locked_now(descriptor: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass  # this file system knows no locks
    return True


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") or "Another process"
    except OSError:
        return "Another process"
