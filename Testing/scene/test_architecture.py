"""The borders of the scene code: which modules it may import, and that it needs no application."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from draw_packages import imported_modules, library_imports
from test_architecture import ABOUT_TORCH, MOST_LINES

SCENE = Path(__file__).resolve().parents[2] / "ProtoSegBrain" / "ProtoSegBrainScene"
FILES = sorted(SCENE.glob("*.py"))
PANEL = SCENE.parent / "ProtoSegBrainPanel"
# What each file may import from the scene code.
MAY_IMPORT = {
    "__init__": set(),
    "context": set(),
    "grid": set(),
    "inputs": {"grid", "moves", "parts"},
    "hierarchy": set(),
    "fingerprint": {"grid", "moves"},
    "case": {"grid", "hierarchy"},
    "brainmask": {"grid", "segmentation"},
    "segmentation": {"context", "grid"},
    "legends": {"layout", "segmentation"},
    "heatmap": {"grid", "legends", "segmentation"},
    "tables": {"heatmap"},
    "stored": {"grid"},
    "result": {
        *("fingerprint", "grid", "heatmap", "hierarchy", "moves", "parts", "rendering", "segmentation", "stored"),
        "tables",
    },
    "parts": set(),
    "moves": {"grid", "parts"},
    "shown": {"layout", "moves", "parts"},
    "points": {"brainmask", "hierarchy", "parts", "segmentation"},
    "correction": {"grid", "hierarchy", "parts", "stored"},
    "results": {"context", "correction", "moves", "parts", "result", "shown", "stored"},
    "comparison": {
        *("grid", "hierarchy", "inputs", "layout", "parts", "result", "resultfiles", "segmentation", "shown"),
    },
    "resultfiles": {"inputs", "result"},
    "rendering": {"grid", "heatmap", "hierarchy", "parts"},
    "layout": set(),
    "sight": {"grid", "layout"},
    "offscreen": set(),
    "savedscene": {
        *("context", "grid", "heatmap", "layout", "legends", "moves", "offscreen", "rendering", "result"),
        *("segmentation", "sight", "tables"),
    },
}
ABROAD = {"slicer", "vtk", "numpy", "scipy", "ProtoSegBrainLib", "ProtoSegBrainScene"}
LAZY = {"PIL"}
"""Imported inside functions only."""
OF_THE_APPLICATION = {"app", "modules", "mrmlScene", "util", "packaging"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_imports_only_what_its_row_allows(path):
    names = set(imported_modules(path))
    ours = {name.split(".")[1] for name in names if name.startswith("ProtoSegBrainScene.")}
    assert ours <= MAY_IMPORT[path.stem]
    standard = {name for name in names if name.split(".")[0] in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in names - standard} <= ABROAD | LAZY
    assert not set(library_imports(path)) & ABOUT_TORCH


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_touches_nothing_that_only_the_application_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "slicer":
            assert node.attr not in OF_THE_APPLICATION, f"{path.name}, line {node.lineno}"
    top = [name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in _roots(node)]
    assert not set(top) & LAZY


def _roots(node):
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module.split(".")[0]]


def test_it_loads_without_torch():
    pytest.importorskip("slicer", exc_type=ImportError)
    code = "; ".join([f"import ProtoSegBrainScene.{path.stem}" for path in FILES if path.stem != "__init__"])
    code += "; import sys; assert not {'torch', 'PIL', 'qt'} & set(sys.modules)"
    places = [str(SCENE.parent), str(SCENE.parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {places!r}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", [SCENE, PANEL], ids=lambda folder: folder.name)
def test_the_docstring_of_a_folder_is_the_map_of_its_files(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    rows = re.findall(r"(?m)^([a-z]+) {2,}\S", text)
    assert sorted(rows) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def test_files_stay_small_enough_to_be_seen_at_once():
    for path in SCENE.parent.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path.name
