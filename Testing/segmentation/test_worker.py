from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_model import save_small_model

from ProtoSegBrainLib.correction.embedding import embedding_of
from ProtoSegBrainLib.images.case import Case, case_from_volumes
from ProtoSegBrainLib.images.preparation import Preparation
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.segmentation.exchange import receive_embedding, receive_prediction, send_volumes
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict
from ProtoSegBrainLib.segmentation.worker import Server

ROOT = Path(__file__).resolve().parents[2]


class Session:
    """A worker process of the command line, one request and its events at a time."""

    def __init__(self, *flags: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ProtoSegBrainLib", "worker", *flags],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, request: Mapping[str, Any] | str) -> list[dict[str, Any]]:
        """All events of a request; the last is done or failed."""
        assert self.process.stdout
        self.send(request if isinstance(request, str) else json.dumps(request))
        events = [json.loads(self.process.stdout.readline())]
        while events[-1]["event"] == "progress":
            events.append(json.loads(self.process.stdout.readline()))
        return events


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.process.kill()
    session.process.communicate()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")


def volumes_of(case: Case) -> dict[str, Volume]:
    return {role: Volume(image, case.affine) for role, image in zip(MODALITIES, case.images, strict=True)}


def segment(folder: Path, volumes: Mapping[str, Volume], model: Path, **changes: Any) -> dict[str, Any]:
    """A request, its images sent."""
    send_volumes(volumes, folder / "volumes")
    request = {"id": 7, "task": "segment", "folder": str(folder), "case_id": "a", "model": str(model), "device": "cpu"}
    return request | {"precision": "float32", "tta": False} | changes


def test_a_request_gives_what_predict_gives(session: Session, a_case: Case, model: Path, tmp_path: Path) -> None:
    *progress, done = session.ask(segment(tmp_path, volumes_of(a_case), model, tta=True))
    assert done == {"id": 7, "event": "done", "folder": str(tmp_path / "prediction")}
    fractions = [event["fraction"] for event in progress]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] < 1
    assert all(event["id"] == 7 and event["message"] for event in progress)
    got = receive_prediction(tmp_path / "prediction")
    case = case_from_volumes(volumes_of(a_case), "a")
    expected = predict(case, load_model(model), PredictConfig("cpu", "float32", tta=True))
    np.testing.assert_array_equal(got.label, expected.label)
    np.testing.assert_allclose(got.probabilities, expected.probabilities, atol=1e-5)
    np.testing.assert_allclose(got.similarities, expected.similarities, atol=1e-4)
    np.testing.assert_array_equal(got.affine, a_case.affine)
    assert got.disagreement is not None
    assert (got.case_id, got.device, got.findings.keys()) == ("a", "cpu float32", expected.findings.keys())


def test_a_persons_mask_of_the_brain_is_sent_as_a_fifth_image(
    session: Session, a_case: Case, model: Path, tmp_path: Path
) -> None:
    mask = a_case.brain.copy()
    mask[: len(mask) // 2] = False
    volumes = volumes_of(a_case) | {"brain": Volume(mask.astype(np.uint8), a_case.affine)}
    done = session.ask(segment(tmp_path, volumes, model, prepare="auto"))[-1]
    assert done["event"] == "done"
    got = receive_prediction(tmp_path / "prediction")
    assert not (got.probabilities[0] < 1)[~mask].any()
    assert Preparation.from_dict(got.preparation).brain == "mask as given"


def test_as_it_is_nothing_is_prepared(session: Session, a_case: Case, model: Path, tmp_path: Path) -> None:
    session.ask(segment(tmp_path, volumes_of(a_case), model, prepare="none"))
    assert receive_prediction(tmp_path / "prediction").preparation == {}


def test_the_embedding_of_images_that_were_segmented(
    session: Session, a_case: Case, model: Path, tmp_path: Path
) -> None:
    session.ask(segment(tmp_path / "1", volumes_of(a_case), model))
    made = receive_prediction(tmp_path / "1" / "prediction")
    done = session.ask(segment(tmp_path / "2", volumes_of(a_case), model, task="embed"))[-1]
    assert done == {"id": 7, "event": "done", "embedding": str(tmp_path / "2" / "embedding")}
    got = receive_embedding(tmp_path / "2" / "embedding")
    got.check_is_of(made)
    expected = embedding_of(case_from_volumes(volumes_of(a_case), "a"), load_model(model), "cpu", "float32")
    np.testing.assert_allclose(got.vectors, expected.vectors, atol=1e-3)


def test_images_of_the_last_request_are_prepared_once_and_others_anew(
    a_case: Case, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ProtoSegBrainLib.preparation import prepare

    seen = []
    once = prepare.prepare_study
    monkeypatch.setattr(prepare, "prepare_study", lambda *arguments: seen.append(1) or once(*arguments))
    events = io.StringIO()
    server = Server(io.StringIO(), events, 1.0)
    moved = {role: replace(volume, affine=np.eye(4)) for role, volume in volumes_of(a_case).items()}
    requests = [
        segment(tmp_path / "1", volumes_of(a_case), model),
        segment(tmp_path / "2", volumes_of(a_case), model, task="embed"),
        segment(tmp_path / "3", moved, model, task="embed"),
    ]
    counts = []
    for request in requests:
        server._answer(json.dumps(request))
        counts.append(len(seen))
    assert counts == [1, 1, 2], events.getvalue()[-500:]


def test_it_goes_on_after_bad_requests(session: Session, a_case: Case, model: Path, tmp_path: Path) -> None:
    whole = volumes_of(a_case)
    holes = replace(whole["t2f"], array=np.where(whole["t2f"].array > 100, np.nan, whole["t2f"].array))
    far = replace(whole["t1n"], affine=np.diag([1, 1, 1, 1.0]) + 900 * np.eye(4, k=3))
    requests: dict[str, Mapping[str, Any] | str] = {
        "T2 not given": segment(tmp_path / "1", {role: whole[role] for role in MODALITIES if role != "t2w"}, model),
        "FLAIR: expected finite numbers": segment(tmp_path / "2", whole | {"t2f": holes}, model),
        "T1 and T1ce lie in different spaces": segment(tmp_path / "3", whole | {"t1n": far}, model),
        "nowhere.safetensors not found": segment(tmp_path / "4", whole, tmp_path / "nowhere.safetensors"),
        "device must be one of": segment(tmp_path / "5", whole, model, device="abacus"),
        "does not hold what was sent": segment(tmp_path / "6", {}, model) | {"folder": str(tmp_path / "7")},
        "needs case_id, folder": {"id": 7, "task": "segment"},
        "a task of segment, embed, check, stop": {"id": 7, "task": "sing"},
        "Expecting value": "not JSON",
    }
    for message, request in requests.items():
        failed = session.ask(request)[-1]
        assert failed["event"] == "failed"
        assert failed["kind"] == "input", failed
        assert message in failed["message"]
        assert "Traceback" in failed["details"]
        assert str(tmp_path / "2") not in failed["message"], "an error about an image names no temporary file"
    assert session.ask(segment(tmp_path / "8", whole, model))[-1]["event"] == "done"


def test_check_says_what_there_is(session: Session, model: Path, tmp_path: Path) -> None:
    (done,) = session.ask({"id": "x", "task": "check", "model": str(model)})
    values = done["values"]
    assert done["id"] == "x"
    assert values["torch"]["version"] == torch.__version__
    assert values["devices"][-1]["name"] == "cpu"
    assert values["model"] == {"name": "small", "identity": load_model(model)[1].identity, "path": str(model)}
    assert values["packages"]["numpy"] == np.__version__
    assert values["problems"] == []
    (done,) = session.ask({"id": 2, "task": "check", "model": str(tmp_path / "none.safetensors")})
    assert done["values"]["model"] is None
    assert "none.safetensors not found" in done["values"]["problems"][0]


def test_it_stops_when_told_and_after_what_was_asked_before(session: Session, model: Path) -> None:
    for request in ({"id": 1, "task": "check", "model": str(model)}, {"task": "stop"}):
        session.send(json.dumps(request))
    assert session.process.wait(60) == 0  # before its standard input is closed, which ends it at once
    out, err = session.process.communicate()
    assert [json.loads(line)["id"] for line in out.splitlines()] == [1]
    assert json.loads(err[err.rindex("{") :]) == {"ended": "stop"}


def test_it_ends_when_idle() -> None:
    session = Session("--idle-minutes", "0.001")
    try:
        assert session.process.wait(60) == 0
    finally:
        session.process.kill()
        out, _ = session.process.communicate()
    assert out == ""


def test_it_ends_at_once_when_nobody_is_left_to_answer(a_case: Case, model: Path, tmp_path: Path) -> None:
    session = Session()
    first = segment(tmp_path / "mine", volumes_of(a_case), model)
    session.send(json.dumps(first))
    session.send(json.dumps(segment(tmp_path / "next", volumes_of(a_case), model)))
    assert session.process.stdout
    assert session.process.stdin
    session.process.stdout.readline()  # it is at work
    session.process.stdin.close()
    try:
        session.process.wait(10)
    finally:
        session.process.kill()
        session.process.stdin = None
        session.process.communicate()
    assert [*tmp_path.iterdir()] == []


def test_only_events_are_on_standard_output() -> None:
    code = (
        "import os; from ProtoSegBrainLib.segmentation.worker import private_pipes\n"
        "requests, events = private_pipes()\n"
        "print('stray', flush=True); os.system('echo stray')\n"
        "events.write(requests.readline()); events.flush(); print('stray')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input="x\n", capture_output=True, text=True)
    assert done.stdout == "x\n"
    assert done.stderr == "stray\n" * 3


def test_the_model_is_loaded_again_only_when_it_changed(model: Path, tmp_path: Path) -> None:
    server = Server(io.StringIO(), io.StringIO(), 1.0)
    first = server._load(str(model))
    assert server._load(str(model)) is first
    other = tmp_path / "other.safetensors"
    for ending in (".safetensors", ".json"):
        other.with_suffix(ending).write_bytes(model.with_suffix(ending).read_bytes())
    second = server._load(str(other))
    assert second is not first
    card = other.with_suffix(".json")
    card.write_text(card.read_text().replace('"small"', '"changed"'))
    os.utime(card, (time.time() + 2,) * 2)
    assert server._load(str(other))[1].name == "changed"
