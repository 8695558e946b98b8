"""The borders inside the library, as a test. A new file needs a row here: what it may import, and whether torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[1] / "ProtoSegBrainLib"

# What each file may import from the library, at any depth of its code.
MAY_IMPORT = {
    "__init__": set(),
    "__main__": {"cli"},
    "labels": set(),
    "flags": set(),
    "evidence": {"labels"},
    "files": set(),
    "drawing": {"labels", "files"},
    "run_figures": {"labels", "drawing"},
    "logbook": {"drawing", "files", "run_figures"},
    "volume": set(),
    "case": {"labels", "volume"},
    "simulate": {"labels", "case", "volume"},
    "metrics": {"labels"},
    "preprocess": {"labels", "case", "volume"},
    "uncertainty": set(),
    "prediction": {"labels", "case", "evidence", "files", "uncertainty", "volume"},
    "reliability": {"labels", "evidence", "metrics", "prediction", "uncertainty", "volume"},
    "familiarity": {"labels", "evidence", "prediction", "volume"},
    "evaluate": {"labels", "case", "files", "metrics", "prediction", "volume"},
    "agreement": {"labels", "case", "evaluate", "lesion", "metrics", "volume"},
    "score_figures": {"labels", "agreement", "drawing", "files", "metrics"},
    "case_sheets": {"labels", "case", "drawing", "files", "logbook", "metrics", "volume"},
    "figures": {"agreement", "case", "case_sheets", "evaluate", "logbook", "run_figures", "score_figures"},
    "picture": {"labels", "case", "prediction", "volume"},
    "lesion": {"volume"},
    "findings": {
        *("labels", "cards", "evidence", "explain", "familiarity", "lesion", "prediction", "reliability", "volume"),
    },
    "slices": {"volume"},
    "mesh": {"labels", "lesion", "volume"},
    "report": {
        *("labels", "case", "evidence", "files", "findings", "mesh", "prediction", "slices", "uncertainty", "volume"),
    },
    "model": {"labels"},
    "losses": {"labels"},
    "augmentation": {"labels"},
    "peers": {"labels", "model"},
    "networks": {"labels", "model", "peers"},
    "weights": {"labels", "evidence", "files", "model", "networks"},
    "dataset": {"labels", "augmentation", "case", "files", "preprocess"},
    "cards": {"labels", "evidence", "files", "prediction", "slices"},
    "portrait": {
        *("labels", "cards", "dataset", "evidence", "inference", "lesion", "losses", "model", "perturbation"),
        *("prototypes", "volume"),
    },
    "prototypes": {"labels", "dataset", "evidence", "losses", "model"},
    "inference": {"labels", "model"},
    "decision": {"labels", "evidence", "prediction", "volume"},
    "explain": {"labels", "evidence", "prediction", "volume"},
    "whatif": {"decision", "evidence", "prediction", "volume"},
    "pruning": {"labels", "dataset", "evidence", "model", "prototypes", "weights"},
    "predict": {
        *("labels", "case", "decision", "evidence", "familiarity", "findings", "inference", "model", "networks"),
        *("prediction", "preprocess", "uncertainty", "weights"),
    },
    "calibration": {
        *("labels", "dataset", "decision", "evidence", "familiarity", "inference", "metrics", "model", "networks"),
        *("predict", "prediction", "reliability", "volume", "weights"),
    },
    "muon": set(),
    "trainer": {
        *("labels", "augmentation", "case", "case_sheets", "dataset", "evidence", "files", "inference", "logbook"),
        *("losses", "metrics", "model", "muon", "networks", "weights"),
    },
    "prototype_trainer": {
        *("dataset", "evidence", "losses", "model", "portrait", "prototypes", "trainer", "weights"),
    },
    "training": {"configuration", "dataset", "files", "networks", "prototype_trainer", "trainer"},
    "mapscores": {"labels", "evidence"},
    "perturbation": {"augmentation", "inference", "mapscores", "model"},
    "deletion": {"mapscores", "model", "perturbation"},
    "faithfulness": {
        *("labels", "dataset", "deletion", "evidence", "files", "inference", "losses", "mapscores", "model"),
        *("perturbation", "predict", "weights"),
    },
    "configuration": {"trainer"},
    "tuning": {"configuration", "drawing", "files", "losses", "networks", "trainer", "training"},
    "export": {"files", "labels", "model", "weights"},
    "bundle": {"evidence", "export", "files", "inference", "labels", "model", "preprocess", "weights"},
    "exchange": {"evidence", "prediction", "volume"},
    "worker_client": {"exchange", "prediction", "volume"},
    "environment": {"weights"},
    "worker": {"case", "console", "environment", "exchange", "model", "predict", "weights"},
    "segment_folder": {"labels", "case", "files", "model", "predict", "prediction", "report", "weights"},
    "console": {"labels", "prediction"},
    "explanation_commands": {
        *("labels", "cards", "case", "console", "dataset", "evidence", "explain", "faithfulness", "files", "findings"),
        *("flags", "model", "portrait", "predict", "prediction", "pruning", "simulate", "trainer", "training"),
        *("weights", "whatif"),
    },
    "recognition": {"case", "evidence", "familiarity", "labels", "preprocess", "volume"},
    "case_check": {
        *("case", "drawing", "evidence", "familiarity", "labels", "preprocess", "recognition", "volume"),
    },
    "data_pictures": {"case_check", "drawing", "labels", "slices"},
    "data_check": {"case", "case_check", "data_pictures", "evidence", "files", "labels", "volume"},
    "comparison": set(),
    "timing": {"case", "predict", "prediction", "trainer", "weights", "worker"},
    "benchmark_plan": {"case", "training"},
    "benchmark_report": {"labels", "benchmark_plan", "comparison", "files", "networks", "weights"},
    "benchmark": {
        *("benchmark_plan", "benchmark_report", "configuration", "evaluate", "files", "peers", "segment_folder"),
        *("timing", "trainer", "training", "weights"),
    },
    "lab_commands": {
        *("benchmark", "benchmark_plan", "bundle", "configuration", "console", "data_check", "export"),
        *("figures", "files", "flags", "tuning", "weights"),
    },
    "commands": {
        *("case", "configuration", "console", "evaluate", "evidence", "explanation_commands", "files", "flags"),
        *("lab_commands", "labels", "metrics", "model", "networks", "picture", "predict", "prediction", "report"),
        *("segment_folder", "simulate", "trainer", "training", "weights", "worker"),
    },
    "memory": set(),
    "cli": {"commands", "console", "memory"},
}
# All others load without torch: seconds matter at Slicer's start, for `--help` and for programs that only read results.
ABOUT_TORCH = {
    *("model", "losses", "augmentation", "weights", "dataset", "prototypes", "inference", "predict", "calibration"),
    *(
        "muon",
        "networks",
        "peers",
        "portrait",
        "prototype_trainer",
        "pruning",
        "trainer",
        "training",
        "perturbation",
        "deletion",
        "faithfulness",
        "segment_folder",
    ),
    *("export", "bundle"),
}
BANNED = {"slicer", "qt", "ctk", "vtk"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core", "tools"}

FILES = sorted(LIBRARY.rglob("*.py"))


def imported_modules(path):
    """Full names of all modules that a file imports anywhere, `from package import module` included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: import absolutely, not relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def library_imports(path):
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("ProtoSegBrainLib.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_imports_only_what_its_row_allows(path):
    assert path.stem in MAY_IMPORT, f"{path.name} has no row in MAY_IMPORT"
    assert library_imports(path) <= MAY_IMPORT[path.stem]


def test_the_arrows_form_no_circle():
    remaining = dict(MAY_IMPORT)
    while remaining:
        free = [name for name, needs in remaining.items() if not needs & set(remaining)]
        assert free, f"circular imports among {sorted(remaining)}"
        for name in free:
            del remaining[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_library_knows_nothing_of_slicer(path):
    assert not {name.split(".")[0] for name in imported_modules(path)} & BANNED


def test_importing_the_torch_free_modules_loads_neither_torch_nor_monai():
    names = [path.stem for path in FILES if path.stem not in {"__init__", *ABOUT_TORCH}]
    modules = ["ProtoSegBrainLib", *(f"ProtoSegBrainLib.{name}" for name in names)]
    code = (
        f"import importlib, sys\nfor name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'torch', 'monai'} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=LIBRARY.parent, check=False)
    assert done.returncode == 0, done.stderr


def test_no_file_has_a_name_that_says_nothing():
    assert not {path.stem for path in FILES} & VAGUE_NAMES


def test_the_library_prints_nothing_outside_the_command_line():
    for path in FILES:
        calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or path.name == "cli.py", f"{path.name}, line {prints[0].lineno}"
