"""The machine that tries random inputs: its plans, what it takes for a fault, and how it makes one smaller."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import main as run_command
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.labels import MODALITIES
from Testing import fuzz
from Testing.fuzz_inputs import HEADERS, KINDS, NAMES, VOXELS, Plan, change, damage, draw, write_case
from Testing.phantom import AFFINE, phantom


@pytest.fixture(scope="module")
def home():
    with fuzz.a_home() as made:
        yield made


# -- plans -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_plan(kind):
    assert draw(kind, 3) == draw(kind, 3)
    assert len({draw(kind, seed) for seed in range(20)}) > 3


def test_the_plain_plan_is_the_phantom(tmp_path):
    affine = write_case(Plan("plain", 0), tmp_path / "case")
    case = read_case(tmp_path / "case", with_label=False)
    np.testing.assert_allclose(case.affine, affine, atol=1e-4)
    start = np.rint(np.linalg.inv(AFFINE) @ affine[:, 3]).astype(int)[:3]
    box = tuple(slice(max(s, 0), s + n) for s, n in zip(start, case.images.shape[1:], strict=True))
    for image, role in zip(case.images, MODALITIES, strict=True):
        expected = phantom()[role][box]
        found = image[tuple(slice(max(-s, 0), max(-s, 0) + n) for s, n in zip(start, expected.shape, strict=True))]
        np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("names", NAMES)
def test_all_names_are_read_by_role(names, tmp_path):
    write_case(dataclasses.replace(Plan("names", 0), names=names), tmp_path / "case")
    means = [image[image > 0].mean() for image in read_case(tmp_path / "case", with_label=False).images]
    plain = [phantom()[role][phantom()[role] > 0].mean() for role in MODALITIES]
    np.testing.assert_allclose(means, plain, rtol=0.01)


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_is_changed_in_one_image(header, tmp_path):
    for name, plan in (("a", Plan("header", 0)), ("b", Plan("header", 0, header=header, which=2))):
        write_case(dataclasses.replace(plan, suffix=".nii"), tmp_path / name)
    differ = [
        a.read_bytes()[:352] != (tmp_path / "b" / a.name).read_bytes()[:352] for a in sorted((tmp_path / "a").iterdir())
    ]
    assert sum(differ) == 1


@pytest.mark.parametrize("voxels", VOXELS)
def test_voxels_are_changed_in_one_image(voxels, tmp_path):
    for name, plan in (("a", Plan("voxels", 0)), ("b", Plan("voxels", 0, voxels=voxels, which=2))):
        write_case(dataclasses.replace(plan, suffix=".nii", dtype="float32"), tmp_path / name)
    differ = [a.read_bytes() != (tmp_path / "b" / a.name).read_bytes() for a in sorted((tmp_path / "a").iterdir())]
    assert sum(differ) == 1


def test_damage_is_the_same_for_the_same_seed(tmp_path):
    content = bytes(range(256)) * 10
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(content)
        damage(tmp_path / name, "bits", np.random.default_rng(5))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != content


def test_a_value_in_json_is_changed_at_one_place():
    content = {"a": [1, 2], "b": {"c": "d"}}
    assert change(content, Plan("card", 0, changed=((0.0, 5),))) == {"a": "text", "b": {"c": "d"}}
    assert change(content, Plan("card", 0, changed=((0.99, 18),))) == {"a": [1, 2], "b": {}}
    assert content == {"a": [1, 2], "b": {"c": "d"}}


# -- trials ------------------------------------------------------------------------------------------------------------


def test_a_few_seconds_find_nothing(home, tmp_path):
    rows = fuzz.fuzz(0.05, 1, home, tmp_path, ("damage", "card", "result", "voxels", "header"))
    assert sum(row.tried for row in rows.values()) >= 1
    assert [fault for row in rows.values() for fault in row.faults] == []


@pytest.mark.parametrize(
    ("plan", "command", "message"),
    [
        (Plan("geometry", 0, flipped=(True, False, False)), lambda _: 2, "refused, but nothing is wrong with it"),
        (Plan("damage", 0, damage="cut"), lambda _: 2, "expected one sentence"),
        (Plan("damage", 0, damage="cut"), lambda _: 1, "exit code 1"),
        (Plan("damage", 0, damage="cut"), lambda _: 0, "No such file"),
        (Plan("result", 0, changed=((0.0, 0),)), lambda _: 1, "explain: exit code 1"),
    ],
)
def test_what_is_wrong_is_a_fault(home, plan, command, message):
    found, _ = fuzz._fault(plan, dataclasses.replace(home, command=command))
    assert message in found


def test_a_result_elsewhere_is_a_fault(home):
    """A program that mistakes left for right: its results are those of a mirrored case."""

    def mirroring(arguments):
        out = Path(arguments[arguments.index("--out") + 1])
        code = run_command(arguments)
        for path in out.glob("*_seg.nii.gz"):
            import nibabel

            file = nibabel.load(path)
            nibabel.save(nibabel.Nifti1Image(np.asanyarray(file.dataobj)[::-1], file.affine), path)
        return code

    found, _ = fuzz._fault(Plan("geometry", 0), dataclasses.replace(home, command=mirroring))
    assert "with the plain phantom" in found


def test_a_planted_fault_is_found_made_smaller_and_kept(home, tmp_path):
    """A program that fails where an image is empty, whatever else is odd about it."""

    def failing(arguments):
        case = Path(arguments[arguments.index("--case") + 1])
        return 1 if min(path.stat().st_size for path in case.iterdir()) == 0 else 2

    plan = Plan("damage", 7, damage="empty", flipped=(True, False, True), margin=9, dtype="float32", which=3)
    planted = dataclasses.replace(home, command=failing)
    fault, _ = fuzz._fault(plan, planted)
    smallest, fault = fuzz.smaller(plan, fault, planted)
    assert smallest == Plan("damage", 7, damage="empty")
    kept = fuzz.keep_input(smallest, fault, tmp_path, planted)
    assert (kept / "plan.txt").read_text().startswith("Plan(kind='damage', seed=7, damage='empty')\n\nexit code 1")
    assert len(list((kept / "case").iterdir())) == 4


def test_the_table_counts_what_failed(monkeypatch, tmp_path, home):
    monkeypatch.setattr(fuzz, "fault_of", lambda *_: ("exit code 1", False))
    rows = fuzz.fuzz(0.0005, 1, home, tmp_path, ("card",))
    assert len(rows["card"].faults) >= 1
    assert fuzz.table(rows).splitlines()[1].split()[:2] == ["card", str(rows["card"].tried)]


def test_the_exit_code_says_that_something_failed(monkeypatch, tmp_path, home, capsys):
    monkeypatch.setattr(fuzz, "a_home", lambda: contextlib.nullcontext(home))
    monkeypatch.setattr(fuzz, "fault_of", lambda *_: ("", True))
    arguments = ["--minutes", "0.0005", "--kinds", "card", "--keep", str(tmp_path)]
    assert fuzz.main(arguments) == 0
    monkeypatch.setattr(fuzz, "fault_of", lambda *_: ("exit code 1", False))
    assert fuzz.main(arguments) == 1
    assert "Plan(kind='card', seed=0" in capsys.readouterr().out
