"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file, text as UTF-8, in place of any that is there; its folder must exist."""
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
