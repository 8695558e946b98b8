"""How well and at what price the installed networks find the brain of raw scans, each run in a process of its own.

    python benchmarks/brain_mask.py --study DIR [--role t1c ...] [--out FILE.json]

The study has its images in ``scans`` and the masks known of them in ``brain_masks``, both ending in ``_t1c.nii.gz`` and
the like. Processor seconds are summed over threads and begin when the image has been read and torch has started; memory
is the whole process's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
ROLES = ("t1c", "t1", "t2", "fla")


def main() -> None:
    options = parse_arguments()
    if options.engine:
        print(json.dumps(measure(options.engine, options.study, options.role[0])))
        return
    from ProtoSegBrainLib.preparation.brain_mask import ENGINES

    rows = []
    for name in [name for name, engine in ENGINES.items() if engine.is_installed()]:
        for role in options.role:
            command = [sys.executable, __file__, "--engine", name, "--study", str(options.study), "--role", role]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            print("{engine:8} {role:4} Dice {dice:.3f}  {ml:.0f} ml  {cpu_s:.1f} CPU-s  {gb:.2f} GB".format(**rows[-1]))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="folder with scans and brain_masks")
    parser.add_argument("--role", nargs="+", default=ROLES, choices=ROLES, help="which images; default: all four")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(engine: str, study: Path, role: str) -> dict[str, Any]:
    """One brain found by one network."""
    import numpy as np

    from ProtoSegBrainLib.images.formats import read_volume
    from ProtoSegBrainLib.images.volume import voxel_ml
    from ProtoSegBrainLib.preparation import brain_mask

    image, known = (read_volume(next(study.glob(f"{kind}/*_{role}.nii.gz"))) for kind in ("scans", "brain_masks"))
    brain_mask.ENGINES = {engine: brain_mask.ENGINES[engine]}
    before = processor_seconds()
    found = brain_mask.find_brain(image)[0].array > 0
    seconds = processor_seconds() - before
    both, sizes = np.count_nonzero(found & (known.array > 0)), (np.count_nonzero(found), np.count_nonzero(known.array))
    return {
        "engine": engine,
        "role": role,
        "dice": round(2 * both / sum(sizes), 4),
        "ml": round(sizes[0] * voxel_ml(image.affine)),
        "known_ml": round(sizes[1] * voxel_ml(image.affine)),
        "cpu_s": round(seconds, 1),
        "gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
    }


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
