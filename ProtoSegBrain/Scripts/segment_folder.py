"""Segments every case of a folder inside 3D Slicer, without a window.

    Slicer --no-splash --no-main-window --python-script ProtoSegBrain/Scripts/segment_folder.py --cases DIR --out DIR

The options behind the script's name are those of `protosegbrain segment-folder`, which does the work: [--device cpu],
[--mrb], [--screenshot] and more; ``--help`` lists them. Exit code 0: all cases are done, 1: at least one failed, 2: bad
input. Where no picture can be drawn for ``--screenshot``, that is a warning in the manifest.
"""

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import NoReturn

# Beside this folder lie the scene code and, in an installation, the library; in a source checkout it is one further up.
FOLDERS = Path(__file__).resolve().parents[1:3]


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    sys.path += [str(folder) for folder in FOLDERS if str(folder) not in sys.path]
    if importlib.util.find_spec("torch") is None:
        return _refuse("torch is not installed here; open the module ProtoSegBrain in 3D Slicer once to install it.")
    if {argument.partition("=")[0] for argument in arguments} & {"--workers", "--cluster"}:
        return _refuse("Slicer segments in its own process; for several take `protosegbrain segment-folder`.")
    from ProtoSegBrainLib.commands.cli import main as runCommand

    return runCommand(["segment-folder", *arguments])


def _refuse(reason: str) -> int:
    sys.stderr.write(f"segment_folder: {reason}\n")
    return 2


def run(arguments: list[str]) -> NoReturn:
    """Slicer stays open unless it is told to end, also after an error."""
    try:
        code = main(arguments)
    except Exception:
        traceback.print_exc()
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    run(sys.argv[1:])
