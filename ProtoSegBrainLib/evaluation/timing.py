"""Seconds a model takes for a case, files in to files out, and its memory: models in turn, a process each.

``python -m ProtoSegBrainLib.evaluation.timing --model FILE --device cpu --threads 2`` is such a process: a line with a
case's folder on standard input is answered by a line of JSON with its seconds, the end of the input by the peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.segmentation.worker import private_pipes

ROOT = Path(__file__).resolve().parents[2]


def child_environment(threads: int) -> dict[str, str]:
    """The environment of a process that computes with so many threads and finds this library."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}


@dataclass(frozen=True)
class Times:
    """What one model took on one device.

    Attributes:
        seconds: Of each case, from its files to the files of its result, without the start of Python and the loading of
            the model.
        processor_seconds: The same, of the processor, summed over its threads.
        peak_memory_mib: The most memory that its process held; of the GPU where it computes there.
        device: Where, and in which precision.
    """

    seconds: tuple[float, ...]
    processor_seconds: tuple[float, ...]
    peak_memory_mib: float | None
    device: str


def time_models(
    models: Mapping[str, Path],
    cases: Sequence[Path],
    device: str,
    threads: int,
    on_progress: Progress | None = None,
) -> dict[str, Times]:
    """Time each model on each case, after one warm-up on the first.

    The models take turns case by case, so that whatever else the machine does falls on all of them.

    Raises:
        ValueError: No case to time.
        RuntimeError: A process ended early; what it said is on standard error.
    """
    if not cases:
        raise ValueError("Expected at least one case to time.")
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: _Side(name, model, device, threads, Path(folder)) for name, model in models.items()}
        try:
            for number, case in enumerate([cases[0], *cases]):
                for name, side in sides.items():
                    side.run(case, is_counted=number > 0)
                    if on_progress:
                        on_progress(number / (len(cases) + 1), f"Timing {name} on {device}")
            return {name: side.close() for name, side in sides.items()}
        finally:
            for side in sides.values():
                side.end()


class _Side:
    """One model in a process of its own."""

    def __init__(self, name: str, model: Path, device: str, threads: int, folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "ProtoSegBrainLib.evaluation.timing",
            "--model",
            str(model),
            "--device",
            device,
        ]
        command += ["--threads", str(threads), "--out", str(folder / name)]
        self._name = name
        self._answers: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment(threads)
        )

    def run(self, case: Path, is_counted: bool) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        answer = self._answer()
        if is_counted:
            self._answers.append(answer)

    def close(self) -> Times:
        assert self._process.stdin
        self._process.stdin.close()
        peak = self._answer()["peak_memory_mib"]
        self._process.wait()
        seconds, processor_seconds = (
            tuple(a[kind] for a in self._answers) for kind in ("seconds", "processor_seconds")
        )
        return Times(seconds, processor_seconds, peak, self._answers[-1]["device"])

    def end(self) -> None:
        """Whatever happened, leave no process behind."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not pipe.closed:
                pipe.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"Timing {self._name}: its process ended early (exit code {self._process.wait()}).")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main(arguments: Sequence[str] | None = None) -> None:
    """The process of one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files of the results")
    options = parser.parse_args(arguments)
    questions, answers = private_pipes()
    import torch

    from ProtoSegBrainLib.images.case import read_case
    from ProtoSegBrainLib.network.device import peak_memory_mib
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.result.prediction_files import write_prediction
    from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

    def answer(values: dict[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    torch.set_num_threads(options.threads)
    model, config = load_model(options.model), PredictConfig(device=options.device)
    for line in questions:
        start, processor_start = time.perf_counter(), time.process_time()
        prediction = predict(read_case(Path(line.strip()), with_label=False), model, config)
        write_prediction(prediction, options.out, overwrite=True)
        took = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - processor_start}
        answer({**took, "device": prediction.device})
    answer({"peak_memory_mib": peak_memory_mib(options.device)})


if __name__ == "__main__":
    main()
