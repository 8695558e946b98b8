"""Prepared cases, their windows and labels."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantom import classes, write_phantom
from synthetic import AFFINE, training_case

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.codings import encode_label
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.patches import cases
from ProtoSegBrainLib.patches.cases import (
    VOXELS_KEPT_PER_CLASS,
    class_shares,
    in_memory,
    padded_label,
    prepare_data,
    pure_label,
    whole_window,
)
from ProtoSegBrainLib.simulation.simulate import write_case


@pytest.fixture(scope="module")
def data(a_case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two cases, one of them without a label."""
    folder = tmp_path_factory.mktemp("data")
    for case_id in ("first", "second"):
        write_case(replace(a_case, case_id=case_id), folder)
    next((folder / "second").glob("*_seg.nii.gz")).unlink()
    return folder


def test_a_prepared_case_is_what_prepare_gives(data, a_case, tmp_path):
    told = []
    (case,) = prepare_data(data, ["first"], tmp_path, on_progress=lambda share, text: told.append((share, text)))
    expected = prepare(a_case)
    np.testing.assert_allclose(case.images.float(), expected.images, atol=5e-3)
    np.testing.assert_array_equal(case.label, expected.label)
    np.testing.assert_allclose(case.affine, expected.affine)
    assert told == [(1.0, "Preparing first")]


def test_the_kept_voxels_belong_to_their_class(data, tmp_path):
    (case,) = prepare_data(data, ["first"], tmp_path)
    assert sorted(case.voxels) == [1, 2, 3]
    for index, voxels in case.voxels.items():
        assert len(voxels) == min(int((case.label == index).sum()), VOXELS_KEPT_PER_CLASS)
        assert len(np.unique(voxels, axis=0)) == len(voxels)
        assert (case.label.numpy()[tuple(voxels.T)] == index).all()


def test_a_second_call_reads_the_cache_only(data, tmp_path, monkeypatch):
    (first,) = prepare_data(data, ["first"], tmp_path)
    monkeypatch.setattr(cases, "read_case", lambda folder, **_: pytest.fail(f"read {folder} again"))
    (second,) = prepare_data(data, ["first"], tmp_path)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.label, second.label)
    np.testing.assert_array_equal(first.voxels[1], second.voxels[1])


def test_what_says_that_a_case_is_cached_appears_whole(data, tmp_path, monkeypatch):
    """Two trainings that share a cache: one must not read the file that the other has just begun."""
    seen = []

    def renamed(source, target):
        if str(target).endswith(".json"):
            seen.append((Path(target).exists(), json.loads(Path(source).read_text())["affine"]))
        os.rename(source, target)

    monkeypatch.setattr("os.replace", renamed)
    (case,) = prepare_data(data, ["first"], tmp_path)
    assert seen == [(False, case.affine.tolist())]


def test_a_cache_cut_short_is_made_again(data, tmp_path):
    (first,) = prepare_data(data, ["first"], tmp_path)
    whole = first.images.clone()
    (tmp_path / "first.json").unlink()  # written last, so it is what a killed run lacks
    (tmp_path / "first_images.npy").write_bytes(b"half")
    (second,) = prepare_data(data, ["first"], tmp_path)
    assert torch.equal(whole, second.images)
    assert not list(tmp_path.glob("*.partial"))


def test_a_cache_that_was_read_in_another_way_is_made_again(tmp_path):
    write_phantom(tmp_path / "data" / "x", label=encode_label(classes(), "nnunet"))
    where = tmp_path / "data", ["x"], tmp_path / "cache"
    (wrong,) = prepare_data(*where)
    (right,) = prepare_data(*where, reading=Reading(labels="nnunet"))
    assert torch.equal(right.label == 1, wrong.label == 2)
    assert torch.equal(prepare_data(*where)[0].label, wrong.label)


def test_a_cache_of_an_earlier_version_holds_what_the_values_said(data, tmp_path, monkeypatch):
    prepare_data(data, ["first"], tmp_path)
    kept = json.loads((tmp_path / "first.json").read_text())
    (tmp_path / "first.json").write_text(json.dumps({"affine": kept["affine"]}))
    monkeypatch.setattr(cases, "read_case", lambda folder, **_: pytest.fail(f"read {folder} again"))
    assert prepare_data(data, ["first"], tmp_path)[0].warnings == ()


def test_what_is_known_of_a_label_is_said_each_time(tmp_path, caplog):
    write_phantom(tmp_path / "data" / "x", label=encode_label(classes(), "nnunet"))
    said = "The label was read as brats2023; by the images it is rather nnunet: --labels nnunet."
    for _ in range(2):
        caplog.clear()
        (case,) = prepare_data(tmp_path / "data", ["x"], tmp_path / "cache")
        assert case.warnings == (said,)
        assert caplog.messages == [f"x: {said}"]


def test_a_case_whose_label_is_damaged_is_named(tmp_path):
    folder = write_phantom(tmp_path / "data" / "x", label=encode_label(classes(), "brats2020"))
    (folder / "x_seg.nii.gz").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"Case x: .*x_seg\.nii\.gz"):
        prepare_data(tmp_path / "data", ["x"], tmp_path / "cache")


def test_a_missing_case_is_named(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of the 2 cases asked for.*third"):
        prepare_data(data, ["first", "third"], tmp_path)


def test_a_modality_without_a_file_is_zero_everywhere(a_case, tmp_path):
    write_case(a_case, tmp_path / "data")
    for name in ("t1", "t2"):
        next(tmp_path.rglob(f"*_{name}.nii.gz")).unlink()
    (case,) = prepare_data(tmp_path / "data", [a_case.case_id], tmp_path / "cache")
    assert [bool(image.any()) for image in case.images] == [False, True, False, True]
    whole = in_memory(a_case)
    assert torch.equal(case.images[[1, 3]], whole.images[[1, 3]])
    assert torch.equal(case.label, whole.label)
    for path in tmp_path.rglob("*ce.nii.gz"):
        path.unlink()
    next(tmp_path.rglob("*_flair.nii.gz")).unlink()
    with pytest.raises(FileNotFoundError, match="no case found"):
        prepare_data(tmp_path / "data", [a_case.case_id], tmp_path / "other")


def test_a_case_without_a_label_is_named(data, tmp_path):
    with pytest.raises(ValueError, match=r"second.*has no label"):
        prepare_data(data, ["second"], tmp_path)


def test_a_case_in_memory_is_what_a_cached_one_is(a_case: Case, tmp_path: Path) -> None:
    write_case(a_case, tmp_path)
    (cached,) = prepare_data(tmp_path, [a_case.case_id], tmp_path / "cache")
    case = in_memory(a_case)
    assert torch.equal(case.images, cached.images)
    assert torch.equal(case.label, cached.label)
    np.testing.assert_allclose(case.affine, cached.affine)
    assert case.voxels.keys() == cached.voxels.keys()
    assert not in_memory(replace(a_case, label=None)).label.any()


# -- windows and labels ----------------------------------------------------------------------------------------------


def test_a_whole_window_is_padded_at_the_far_ends():
    case = training_case(0)  # 24 x 20 x 22
    window = whole_window(case, 8)
    assert window.shape == (1, 4, 24, 24, 24)
    assert torch.equal(window[0, :, :24, :20, :22], case.images.float())
    assert not window[:, :, :, 20:].any()
    assert not window[..., 22:].any()


def test_a_padded_label_marks_the_padding_as_no_class():
    case = training_case(0)
    label = padded_label(case, whole_window(case, 8))
    assert label.shape == (1, 24, 24, 24)
    assert torch.equal(label[0, :24, :20, :22], case.label.long())
    assert (label[:, :, 20:] == -1).all()
    assert (label[..., 22:] == -1).all()
    np.testing.assert_allclose(case.affine, AFFINE)


def test_class_shares_count_the_classes_of_a_block() -> None:
    label = torch.zeros(1, 4, 2, 2, dtype=torch.long)
    label[0, 0, 0, 0] = 3
    label[0, 0, 0, 1] = 1
    label[0, 2:] = 2
    shares = class_shares(label, 2)
    assert shares.shape == (1, 4, 2, 1, 1)
    assert shares[0, :, 0, 0, 0].tolist() == [6 / 8, 1 / 8, 0, 1 / 8]
    assert shares[0, :, 1, 0, 0].tolist() == [0, 0, 1, 0]


def test_a_pure_voxel_has_one_class_in_its_whole_block():
    label = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    label[0, 2:4, 2:4, 2:4] = 3
    label[0, 0, 0, 0] = 1
    label[0, 4:] = -1  # no class
    pure = pure_label(label, 2)[0]
    assert pure.shape == (3, 3, 3)
    assert pure[1, 1, 1] == 3
    assert pure[0, 0, 0] == -1
    assert pure[0, 0, 1] == 0
    assert (pure[2] == -1).all()


def test_a_pure_patch_has_one_class_in_all_its_voxels_and_lies_in_the_window():
    label = torch.zeros(1, 6, 6, 12, dtype=torch.long)
    label[0, :, :, 6:] = 2  # blocks 3 to 5 along z
    pure = pure_label(label, 2, patch=3)[0]
    assert pure.shape == (3, 3, 6)
    assert pure[1, 1].tolist() == [-1, 0, -1, -1, 2, -1]
    assert (pure != -1).sum() == 2
