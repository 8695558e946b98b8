"""Slicer installs what its CMake files list, pip what the wheel holds: both are compared with the tree."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RAW = "https://raw.githubusercontent.com/ProtoSegBrain/SlicerProtoSegBrain/main/"
OF_SLICER = ("ProtoSegBrain", "ProtoSegBrainLib")
OF_THE_WHEEL = {"ProtoSegBrainLib": "ProtoSegBrainLib", "ProtoSegBrainScene": "ProtoSegBrain/ProtoSegBrainScene"}
"""Name in the wheel and folder of the tree."""
ALL_THAT_COULD_COME = (
    *("ProtoSegBrain", "ProtoSegBrainLib", "Resources", "Testing", "benchmarks", "docs"),
    *("LICENSE", "README.md", "pyproject.toml"),
)
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


def files_of(folder: str) -> list[str]:
    """All files of a folder of the tree, but those that only say how it is built."""
    paths = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path.as_posix() for path in paths if "__pycache__" not in path.parts and path.name != "CMakeLists.txt"]


def listed_in(folder: str) -> list[str]:
    text = (ROOT / folder / "CMakeLists.txt").read_text()
    call = re.search(r"slicerMacroBuildScriptedModule\((.*?)\n\s*\)", text, re.DOTALL)
    assert call is not None
    return [line.strip() for line in call.group(1).splitlines() if re.fullmatch(r"\s{4}\S+", line)]


def metadata(name: str) -> str:
    found = re.search(rf'set\({name} "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text())
    assert found is not None, f"{name} must be set and quoted"
    return found.group(1)


@pytest.mark.parametrize("folder", OF_SLICER)
def test_cmake_lists_every_file_of_the_tree_once(folder: str) -> None:
    assert sorted(listed_in(folder)) == sorted(files_of(folder))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], str]:
    """Names of the files in the wheel, and what was said while it was built, from a copy of the tree."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ALL_THAT_COULD_COME:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-c", BUILD, str(out)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    (wheel,) = out.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist()), said


def test_the_wheel_holds_every_file_of_library_and_scene_code_and_nothing_else(build: tuple[set[str], str]) -> None:
    names, _ = build
    expected = {f"{name}/{file}" for name, folder in OF_THE_WHEEL.items() for file in files_of(folder)}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_the_build_knows_of_every_folder_that_it_ships(build: tuple[set[str], str]) -> None:
    _, said = build
    assert "is absent from the `packages` configuration" not in said


def test_slicer_takes_one_python_file_of_the_modules_folder_as_the_module() -> None:
    assert [path.name for path in (ROOT / "ProtoSegBrain").glob("*.py")] == ["ProtoSegBrain.py"]


def test_the_library_keeps_its_folder_and_the_modules_packages_lie_beside_it() -> None:
    assert "WITH_SUBDIR" in (ROOT / "ProtoSegBrainLib/CMakeLists.txt").read_text()
    module = (ROOT / "ProtoSegBrain/CMakeLists.txt").read_text()
    assert "WITH_SUBDIR" not in module
    assert "WITH_GENERIC_TESTS" in module
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in module


def test_the_extension_says_what_the_index_asks_for() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    entry = json.loads((ROOT / "Resources/ProtoSegBrain.json").read_text())
    assert "project(ProtoSegBrain)" in text
    assert metadata("EXTENSION_DEPENDS").split() == entry["build_dependencies"] == ["PyTorch"]
    assert entry["scm_url"].startswith(metadata("EXTENSION_HOMEPAGE"))
    assert Path(entry["scm_url"]).stem.startswith("Slicer")
    known = {"$schema", "category", "scm_url", "scm_revision", "build_dependencies", "tier"}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= known
    assert "research use only" in metadata("EXTENSION_DESCRIPTION").lower()


def test_icon_and_screenshots_are_in_the_repository() -> None:
    pictures = [metadata("EXTENSION_ICONURL"), *metadata("EXTENSION_SCREENSHOTURLS").split()]
    assert len(pictures) >= 4
    for address in pictures:
        assert address.startswith(RAW)
        assert (ROOT / address.removeprefix(RAW)).read_bytes().startswith(b"\x89PNG")
    icon = (ROOT / pictures[0].removeprefix(RAW)).read_bytes()
    assert struct.unpack(">II", icon[16:24]) == (128, 128)


def test_the_repository_stays_small_enough_for_the_index() -> None:
    weights = sum(path.stat().st_size for path in (ROOT / "ProtoSegBrainLib/weights").iterdir())
    pictures = sum(path.stat().st_size for path in (ROOT / "Resources").rglob("*.png"))
    assert weights < 8 * 2**20
    assert pictures < 4 * 2**20
