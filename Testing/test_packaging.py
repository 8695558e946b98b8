"""Slicer installs what its CMake files list and nothing else: the lists are compared with the tree."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RAW = "https://raw.githubusercontent.com/ProtoSegBrain/SlicerProtoSegBrain/main/"
SHIPPED = {
    "ProtoSegBrain": {".py", ".ui", ".png", ".txt", ".json"},
    "ProtoSegBrainLib": {".py", ".css", ".js", ".json", ".safetensors", ".typed", ".yaml"},
}


def listed_in(folder: str) -> list[str]:
    text = (ROOT / folder / "CMakeLists.txt").read_text()
    call = re.search(r"slicerMacroBuildScriptedModule\((.*?)\n\s*\)", text, re.DOTALL)
    assert call is not None
    return [line.strip() for line in call.group(1).splitlines() if re.fullmatch(r"\s{4}\S+", line)]


def metadata(name: str) -> str:
    found = re.search(rf'set\({name} "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text())
    assert found is not None, f"{name} must be set and quoted"
    return found.group(1)


@pytest.mark.parametrize("folder", SHIPPED)
def test_cmake_lists_every_file_of_the_tree_once(folder: str) -> None:
    tree = [
        path.relative_to(ROOT / folder).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    ]
    tree = [name for name in tree if Path(name).suffix in SHIPPED[folder] or Path(name).name == "py.typed"]
    assert sorted(listed_in(folder)) == sorted(tree)


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
