"""Prepared cases as a few small files, to train on a machine that has neither the images nor what reads them.

    python benchmarks/pack_cases.py pack --data DATA --cache runs/prepared --out packed --part-mb 49
    python benchmarks/pack_cases.py unpack --packed packed --data DATA --cache runs/prepared        # over there

Nothing is lost: a modality of up to 256 grey levels (a case with more is refused) is stored as a table of its z-scores
and one byte a voxel, its slices below one another as a lossless WebP. ``unpack`` needs numpy and Pillow alone. It fills
the cache, where ``protosegbrain train --cache`` looks first, and puts empty files in DATA, which ``train`` lists but
does not read then.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

WEBP_LIMIT = 16383
"""Most rows of a WebP."""
SUFFIXES = ("flair", "t1", "t1ce", "t2", "seg")


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--out", type=Path, required=True, help="folder for the parts")
    packing.add_argument("--part-mb", type=float, default=49, help="largest size of a part")
    packing.set_defaults(run=pack)
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("--packed", type=Path, required=True, help="folder of the parts, or of some of them")
    unpacking.set_defaults(run=unpack)
    for command in (packing, unpacking):
        command.add_argument("--data", type=Path, required=True, help="folder with one folder per case")
        command.add_argument("--cache", type=Path, required=True, help="folder of the prepared cases")
    options = parser.parse_args()
    options.run(options)


def pack(options: argparse.Namespace) -> None:
    """Prepare what the cache lacks, and write the parts."""
    from ProtoSegBrainLib.images.folders import list_cases
    from ProtoSegBrainLib.patches.cases import prepare_data

    case_ids = [case.case_id for case in list_cases(options.data)]
    prepare_data(options.data, case_ids, options.cache)
    options.out.mkdir(parents=True, exist_ok=True)
    part, size = 0, float("inf")
    for case_id in case_ids:
        files = packed(case_id, options.cache)
        added = sum(len(content) for content in files.values())
        if size + added > options.part_mb * 1e6:
            part, size = part + 1, 0
            (options.out / f"part_{part}.zip").unlink(missing_ok=True)
        with zipfile.ZipFile(options.out / f"part_{part}.zip", "a") as archive:
            for name, content in files.items():
                archive.writestr(f"{case_id}/{name}", content)
        size += added
        print(f"{case_id}: {added / 1e6:.1f} MB, part {part}", flush=True)


def unpack(options: argparse.Namespace) -> None:
    """Fill the cache, and put empty files where images would be."""
    options.cache.mkdir(parents=True, exist_ok=True)
    for part in sorted(options.packed.glob("part_*.zip")):
        with zipfile.ZipFile(part) as archive:
            for case_id in sorted({name.split("/")[0] for name in archive.namelist()}):
                files = {
                    name.split("/")[1]: archive.read(name)
                    for name in archive.namelist()
                    if name.startswith(f"{case_id}/")
                }
                restore(case_id, files, options.cache)
                (options.data / case_id).mkdir(parents=True, exist_ok=True)
                for suffix in SUFFIXES:
                    (options.data / case_id / f"{case_id}_{suffix}.nii.gz").touch()


def packed(case_id: str, cache: Path) -> dict[str, bytes]:
    """The files of a prepared case, by name."""
    images, label = np.load(cache / f"{case_id}_images.npy"), np.load(cache / f"{case_id}_label.npy")
    tables, codes = [], []
    for image in images:
        levels, code = np.unique(image, return_inverse=True)
        if len(levels) > 256:
            raise SystemExit(f"Case {case_id}: a modality has {len(levels)} grey levels; at most 256 can be packed.")
        tables.append(levels.view(np.uint16).tolist())  # float16, bit by bit
        codes.append(code.reshape(image.shape).astype(np.uint8))
    affine = json.loads((cache / f"{case_id}.json").read_text())["affine"]
    about = {"shape": label.shape, "tables": tables, "affine": affine}
    return {
        "about.json": json.dumps(about).encode(),
        "label.xz": lzma.compress(label.astype(np.uint8).tobytes()),
        **{f"three_{number}.webp": sheet for number, sheet in enumerate(sheets(np.stack(codes[:3], axis=-1)))},
        **{f"fourth_{number}.webp": sheet for number, sheet in enumerate(sheets(codes[3]))},
    }


def restore(case_id: str, files: dict[str, bytes], cache: Path) -> None:
    """Write a prepared case as ``prepare_data`` does."""
    about = json.loads(files["about.json"])
    shape = tuple(about["shape"])
    codes = np.concatenate(
        [from_sheets(files, "three", shape), from_sheets(files, "fourth", shape)[..., None]], axis=-1
    )
    images = [np.array(table, np.uint16).view(np.float16)[codes[..., i]] for i, table in enumerate(about["tables"])]
    np.save(cache / f"{case_id}_images.npy", np.stack(images))
    label = np.frombuffer(lzma.decompress(files["label.xz"]), np.uint8).reshape(shape)
    np.save(cache / f"{case_id}_label.npy", label)
    (cache / f"{case_id}.json").write_text(json.dumps({"affine": about["affine"]}))


def sheets(volume: np.ndarray) -> list[bytes]:
    """(X, Y, Z) or (X, Y, Z, 3) bytes -> axial slices below one another, on as few pictures as WebP allows."""
    slices = np.moveaxis(volume, 2, 0)
    many = WEBP_LIMIT // slices.shape[1]
    return [_webp(slices[first : first + many]) for first in range(0, len(slices), many)]


def _webp(slices: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(slices.reshape(-1, *slices.shape[2:])))
    picture.save(buffer, "WEBP", lossless=True, quality=90, method=5, exact=True)
    return buffer.getvalue()


def from_sheets(files: dict[str, bytes], stem: str, shape: tuple[int, ...]) -> np.ndarray:
    """What ``sheets`` was given. Grey levels come back as three equal channels, of which one is kept."""
    names = sorted(
        (name for name in files if name.startswith(f"{stem}_")), key=lambda name: int(name[len(stem) + 1 : -5])
    )
    pictures = [np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")) for name in names]
    slices = np.concatenate(pictures).reshape(shape[2], shape[0], shape[1], 3)
    volume = np.moveaxis(slices, 0, 2)
    return volume if stem == "three" else volume[..., 0]


if __name__ == "__main__":
    main()
