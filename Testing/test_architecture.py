"""The borders of the library, as a test: arrows between its packages, what loads without torch, what it never imports.

A new package needs a row in ``MAY_IMPORT``; a new file needs none, but a line in the map of its package.
"""

import ast
import re
import subprocess
import sys

import pytest
from draw_packages import FILES, LIBRARY, PACKAGES, imported_modules, imports, library_imports, module_of

# What each package may import from the library, at any depth of its code, from the bottom to the top. Files at the top
# of the library are for everybody; they import each other never.
FOR_ALL = {"labels", "files", "errors", "progress", "records"}
MAY_IMPORT = {
    "images": set(),
    "simulation": {"images"},
    "network": set(),
    "patches": {"images", "simulation"},
    "result": {"images", "network"},
    "explanation": {"images", "network", "patches", "result"},
    "dicom": {"images", "result"},
    "preparation": {"images", "network", "dicom"},
    "correction": {"images", "network", "result", "explanation"},
    "followup": {"images", "result", "explanation", "preparation"},
    "pictures": {"images", "network", "result", "explanation", "followup"},
    "training": {"images", "network", "patches", "result", "explanation", "pictures"},
    "checking": {"images", "network", "result", "pictures"},
    "segmentation": {
        *("images", "network", "result", "explanation", "dicom", "preparation", "correction", "followup", "pictures"),
    },
    "evaluation": {"images", "network", "patches", "result", "pictures", "training", "segmentation"},
    "sharing": {"images", "network"},
    "commands": {
        *("images", "network", "patches", "result", "explanation", "pictures", "training", "checking"),
        *("segmentation", "evaluation", "sharing", "simulation", "dicom", "preparation", "correction", "followup"),
    },
}
# All others load without torch: seconds matter at Slicer's start, for `--help` and for programs that only read results.
ABOUT_TORCH = {
    *("network.blocks", "network.device", "network.inference", "network.last_layer", "network.model"),
    *("network.networks", "network.peers", "network.processes", "network.prototype_layer"),
    *("network.segmentation_net", "network.weights"),
    *(
        "patches.augmentation",
        "patches.cases",
        "patches.healthy",
        "patches.sampling",
        "patches.scanners",
        "patches.tumours",
    ),
    *("explanation.deletion", "explanation.faithfulness", "explanation.patch", "explanation.perturbation"),
    "explanation.portrait",
    *("training.checkpoint", "training.losses", "training.optimisation", "training.prototype_trainer"),
    *("training.prototypes", "training.pruning", "training.recipe", "training.train", "training.trainer"),
    "training.validation",
    *("preparation.brain_mask", "preparation.deepbet", "preparation.hd_bet", "preparation.prepare"),
    *("segmentation.folder", "segmentation.job", "segmentation.predict", "segmentation.visits"),
    *("evaluation.calibration", "sharing.bundle", "sharing.export", "sharing.workflow"),
}
BANNED = {"slicer", "qt", "ctk", "vtk"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "tools"}
MOST_LINES = 400
MOST_FILES = 15


# -- arrows --------------------------------------------------------------------------------------------------------


def test_every_package_has_a_row():
    assert {package.name for package in PACKAGES} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_its_row_allows(package):
    assert imports()[package] - FOR_ALL == MAY_IMPORT[package]


def test_the_rows_run_one_way():
    rows = list(MAY_IMPORT)
    for number, (package, below) in enumerate(MAY_IMPORT.items()):
        assert below <= set(rows[:number]), f"{package} imports what stands above it"


def test_files_for_all_need_no_other():
    assert {path.stem for path in LIBRARY.glob("*.py")} == FOR_ALL | {"__init__", "__main__"}
    for name in FOR_ALL:
        assert not set(library_imports(LIBRARY / f"{name}.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_there_is_no_circle_inside_a_package(package):
    remaining = {module_of(path): set(library_imports(path)) for path in sorted(package.glob("*.py"))}
    while remaining:
        free = [name for name, needs in remaining.items() if not needs & set(remaining)]
        assert free, f"circular imports among {sorted(remaining)}"
        for name in free:
            del remaining[name]


# -- what is loaded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_the_library_knows_nothing_of_slicer(path):
    assert not {name.split(".")[0] for name in imported_modules(path)} & BANNED


def test_importing_the_torch_free_modules_loads_neither_torch_nor_monai_nor_dicom():
    names = [module_of(path) for path in FILES if path.stem != "__main__" and path.parent != LIBRARY]
    assert set(names) >= ABOUT_TORCH
    modules = ["ProtoSegBrainLib", *(f"ProtoSegBrainLib.{name}" for name in names if name not in ABOUT_TORCH)]
    code = (
        f"import importlib, sys\nfor name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'monai', 'pydicom', 'highdicom'} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=LIBRARY.parent, check=False)
    assert done.returncode == 0, done.stderr


def test_the_library_prints_nothing_outside_the_command_line():
    for path in FILES:
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or path.name == "cli.py", f"{path.name}, line {prints[0].lineno}"


# -- names, sizes, maps --------------------------------------------------------------------------------------------


def test_no_file_has_a_name_that_says_nothing():
    assert not {path.stem for path in FILES} & VAGUE_NAMES


def test_files_and_packages_stay_small_enough_to_be_seen_at_once():
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path.name
    for package in PACKAGES:
        assert 3 <= len(list(package.glob("*.py"))) <= MOST_FILES, package.name


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_the_docstring_of_a_package_is_the_map_of_its_files(package):
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    rows = re.findall(r"(?m)^([a-z_]+) {2,}\S", text)
    assert sorted(rows) == sorted(path.stem for path in package.glob("*.py") if path.stem != "__init__")
    assert "In:" in text
    assert "Out:" in text


def test_the_docstring_of_the_library_names_its_packages_in_the_order_of_the_data():
    text = ast.get_docstring(ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))) or ""
    rows = re.findall(r"(?m)^([a-z_]+) {2,}\S", text)
    assert rows[-len(MAY_IMPORT) :] == list(MAY_IMPORT)
    assert set(rows[: -len(MAY_IMPORT)]) == FOR_ALL


def test_the_public_names_load_on_first_use():
    code = (
        "import sys, ProtoSegBrainLib as library\n"
        "assert not {'torch', 'numpy'} & set(sys.modules), 'importing the library loads more than itself'\n"
        "assert set(library.__all__) <= set(dir(library))\n"
        "for name in library.__all__:\n"
        "    assert getattr(library, name).__name__ == name\n"
        "try:\n    library.nonsense\n"
        "except AttributeError as error:\n    assert 'nonsense' in str(error)\n"
        "else:\n    raise AssertionError('no such name')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=LIBRARY.parent, check=False)
    assert done.returncode == 0, done.stderr
