"""Asking for a segmentation from a program that may not wait."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from stand_in_worker import ENVIRONMENT, NO_IMAGES, until

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.segmentation import client as module
from ProtoSegBrainLib.segmentation.client import Worker
from ProtoSegBrainLib.segmentation.process import Done, Progress


def test_one_start_serves_many_requests_in_their_order(worker: Worker) -> None:
    assert not worker.busy
    numbers = [worker.segment(NO_IMAGES, "echo", device="cpu", tta=True), worker.check()]
    assert worker.busy
    first, second = (worker.wait_for_values(number) for number in numbers)
    assert not worker.busy
    assert first["pid"] == second["pid"]
    assert (first["task"], first["device"], first["tta"], first["model"]) == ("segment", "cpu", True, None)
    assert second["task"] == "check"
    assert worker.log == ("Began.",)


def test_events_of_other_requests_are_kept_while_one_waits(worker: Worker) -> None:
    first, second = worker.check(), worker.check()
    worker.wait_for_values(second)
    events = worker.poll()
    assert [type(event) for event in events] == [Progress, Done]
    assert {event.request for event in events} == {first}
    with pytest.raises(ValueError, match=f"no request {first} to wait for"):
        worker.wait(first)


def test_a_path_of_a_model_is_made_whole(worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert worker.wait_for_values(worker.check(model="a.safetensors"))["model"] == str(tmp_path / "a.safetensors")


def test_polling_does_not_wait(worker: Worker) -> None:
    worker.segment(NO_IMAGES, "sleep")
    until(lambda event: isinstance(event, Progress) and event.fraction == 0.6, worker)
    start = time.perf_counter()
    assert [worker.poll() for _ in range(20)] == [[]] * 20
    assert time.perf_counter() - start < 0.2
    assert worker.busy


def test_failures_are_errors_of_their_kind_for_scripts(worker: Worker) -> None:
    seen: list[tuple[float, str]] = []
    with pytest.raises(ValueError, match=r"^T2 is constant\.$"):
        worker.wait(worker.segment(NO_IMAGES, "refuse"), lambda *values: seen.append(values))
    assert seen == [(0.5, "Doing refuse")]
    with pytest.raises(RuntimeError, match=r"KeyError: 1\nTraceback"):
        worker.wait(worker.segment(NO_IMAGES, "break"))
    with pytest.raises(RuntimeError, match="result could not be read"):
        worker.wait(worker.segment(NO_IMAGES, "lose the result"))
    with pytest.raises(TypeError, match="did not ask for a segmentation"):
        worker.wait(worker.check())


def test_a_request_that_an_idle_worker_missed_goes_to_the_next(worker: Worker) -> None:
    first, second = worker.segment(NO_IMAGES, "last"), worker.segment(NO_IMAGES, "echo")
    assert worker.wait_for_values(first)["pid"] != worker.wait_for_values(second)["pid"]


def test_a_full_disk_leaves_nothing(worker: Worker, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(volumes: object, folder: Path) -> None:
        folder.mkdir()
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "send_volumes", fail)
        with pytest.raises(OSError, match="No space"):
            worker.segment(NO_IMAGES, "echo")
    assert not worker.busy
    assert [*temporary.iterdir()] == []
    assert worker.wait_for_values(worker.segment(NO_IMAGES, "echo"))["case_id"] == "echo"


def test_the_real_worker_segments_twice_and_is_cancelled(a_case: Case, temporary: Path) -> None:
    volumes = {role: Volume(image, a_case.affine) for role, image in zip(MODALITIES, a_case.images, strict=True)}
    with Worker(environment=ENVIRONMENT) as worker:
        first = worker.wait(worker.segment(volumes, "a", device="cpu"))
        process = worker._process
        second = worker.wait(worker.segment(volumes, "b", device="cpu"))
        assert worker._process is process
        assert (first.case_id, second.case_id) == ("a", "b")
        assert first.label.shape == a_case.images.shape[1:]
        np.testing.assert_array_equal(first.label, second.label)
        np.testing.assert_array_equal(first.affine, a_case.affine)
        assert [*temporary.iterdir()] == []
        with pytest.raises(ValueError, match="T1ce is empty or constant"):
            worker.wait(worker.segment(volumes | {"t1c": Volume(np.zeros((60, 60, 60)), np.eye(4))}, "c"))
        worker.segment(volumes, "d", device="cpu")
        until(lambda event: isinstance(event, Progress) and "network" in event.message, worker)
        worker.cancel()
        assert [*temporary.iterdir()] == []


def test_an_embedding_is_asked_for_as_a_segmentation_is(worker: Worker) -> None:
    asked = worker.wait_for_values(worker.embed(NO_IMAGES, "echo", device="cpu"))
    assert (asked["task"], asked["device"], asked["prepare"]) == ("embed", "cpu", "none")
    with pytest.raises(TypeError, match="did not ask for an embedding"):
        worker.wait_for_embedding(worker.check())
