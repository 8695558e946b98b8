"""The tutorial runs from top to bottom, on small brains and with seconds of training."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
QUICK = "MINUTES, SHAPE, PATCH_SIZE = 0.1, (52, 52, 52), 16"


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "Resources" / "tutorial.ipynb", as_version=4)


@pytest.fixture(scope="module")
def run(notebook):
    """The notebook after a run, with other values behind its cell of parameters."""
    copy = nbformat.from_dict(notebook)
    (place,) = (n for n, cell in enumerate(copy.cells) if "parameters" in cell.metadata.get("tags", []))
    copy.cells.insert(place + 1, nbformat.v4.new_code_cell(QUICK))
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    client = NotebookClient(copy, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}})
    return client.execute(env=environment)


def printed(run) -> str:
    outputs = (output for cell in run.cells for output in cell.get("outputs", []))
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def pictures(run, kind: str) -> int:
    return sum(kind in output.get("data", {}) for cell in run.cells for output in cell.get("outputs", []))


def test_it_draws_cases_curves_contributions_and_the_tumour_in_3d(run):
    assert pictures(run, "image/png") == 6
    assert pictures(run, "application/vnd.plotly.v1+json") == 1


def test_it_scores_the_case_that_training_did_not_see(run):
    assert "simulated_0 is held out" in printed(run)
    assert re.search(r"\d+ steps; Dice of the held-out case: \{'WT': [\d.]+, 'TC': ", printed(run))
    assert re.search(r"WT: +[\d.]+ ml, Dice [01]\.\d{3}", printed(run))


def test_the_contributions_it_lists_sum_to_the_logits(run):
    sums = re.findall(r"([+-][\d.]+) \(bias\) ([+-][\d.]+) \(prototypes\) = ([+-][\d.]+)", printed(run))
    assert len(sums) == 4
    for bias, prototypes, logit in sums:
        assert float(bias) + float(prototypes) == pytest.approx(float(logit), abs=0.016)


def test_it_leaves_nothing_behind(run):
    (folder,) = re.findall(r"cases in (\S+), of which", printed(run))
    assert not Path(folder).exists()


def test_it_is_kept_without_outputs_and_asks_for_two_minutes(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert "MINUTES = 2.0" in code[0].source
    assert "Research use only" in notebook.cells[0].source
    assert 'pip install "protosegbrain[notebook]"' in notebook.cells[0].source
