"""Files that are whole or not there, whatever happens while they are written; the folders they go to."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse an output folder, before the work begins, that could not be made.

    Raises:
        FileExistsError: It is a file, or lies below one.
    """
    folder = Path(folder)
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise FileExistsError(f"The output folder {folder} cannot be made: {nearest} is a file; name a folder.")


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file, text as UTF-8, in place of any that is there; its folder must exist."""
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
