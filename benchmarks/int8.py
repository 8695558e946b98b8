"""Does an 8-bit network pay on this CPU? Its time, and how far its label is from that of 32 bits.

    python benchmarks/int8.py --case DIR --calibration DIR [DIR ...] [--model M] [--threads 2] [--runs 8] [--out F.json]

needs ``pip install "protosegbrain[export]"``. Four ways to run the network on the whole brain, in turn in each run:
torch in float32, torch in bfloat16 (what ``segment`` takes where the processor has it), ONNX Runtime in float32 and in
int8 (static quantisation of the convolutions, weights per channel, ranges from the calibration cases). Dice is that of
the label against the one of torch in float32: what the precision changes, not what the network knows. Medians, by
clock and of the processor (summed over threads); only on a quiet machine do they mean something, since threads that
wait for each other burn processor time as well.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.preprocess import prepare
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.inference import fuse_for_inference, run_network
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.sharing.export import to_onnx

CALIBRATION_EDGE = 80  # of the central cube of each calibration case; a whole brain takes gigabytes to calibrate on
Run = Callable[[], np.ndarray]


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    model = load_model(options.model)
    network = fuse_for_inference(model[0])
    images = prepare(read_case(options.case)).images
    with tempfile.TemporaryDirectory() as folder:
        files = {"onnx float32": Path(folder) / "float32.onnx", "onnx int8": Path(folder) / "int8.onnx"}
        files["onnx float32"].write_bytes(to_onnx(model).content)
        quantise(files["onnx float32"], files["onnx int8"], options.calibration, network.size_multiple)
        runs: dict[str, Run] = {
            "torch float32": functools.partial(run_torch, network, images, torch.float32),
            "torch bfloat16": functools.partial(run_torch, network, images, torch.bfloat16),
        }
        runs |= {name: onnx_run(file, padded(images, network.size_multiple), options) for name, file in files.items()}
        measured = measure(runs, options.runs)
    for name, values in measured.items():
        print(f"{name:15}", "  ".join(f"{key} {value:.4f}" for key, value in values.items()))
    if options.out:
        result = {"case": options.case.name, "model": model[1].name, "threads": options.threads, "ways": measured}
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--case", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, nargs="+", required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def padded(images: np.ndarray, multiple: int) -> np.ndarray:
    """(4, X, Y, Z) -> (1, 4, X, Y, Z) with zeros at the high ends, as ``run_network`` does."""
    return np.pad(images, [(0, 0), *((0, -n % multiple) for n in images.shape[1:])])[None]


def quantise(source: Path, target: Path, folders: list[Path], multiple: int) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Cases(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images: Iterator[np.ndarray] = (centre(prepare(read_case(folder)).images) for folder in folders)

        def get_next(self) -> dict[str, np.ndarray] | None:
            images = next(self.images, None)
            return None if images is None else {"images": padded(images, multiple)}

    quantize_static(
        source,
        target,
        Cases(),
        quant_format=QuantFormat.QOperator,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def centre(images: np.ndarray) -> np.ndarray:
    low = [max(0, (n - CALIBRATION_EDGE) // 2) for n in images.shape[1:]]
    return images[(slice(None), *(slice(a, a + CALIBRATION_EDGE) for a in low))]


@torch.inference_mode()
def run_torch(network: SegmentationNet, images: np.ndarray, precision: torch.dtype) -> np.ndarray:
    return run_network(network, torch.from_numpy(images), precision)[1].numpy()


def onnx_run(file: Path, images: np.ndarray, options: argparse.Namespace) -> Run:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    return lambda: session.run(["logits"], {"images": images})[0][0]


def measure(runs: dict[str, Run], count: int) -> dict[str, dict[str, float]]:
    """Seconds by clock and of the processor, and Dice of each region to the first way."""
    labels = {name: run().argmax(0) for name, run in runs.items()}  # warms up as well
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            clock, processor = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - clock, time.process_time() - processor))
    reference = next(iter(labels.values()))
    return {
        name: {
            "seconds": statistics.median(clock for clock, _ in seconds[name]),
            "fastest": min(clock for clock, _ in seconds[name]),
            "cpu_seconds": statistics.median(processor for _, processor in seconds[name]),
            **{region: dice(np.isin(labels[name], c), np.isin(reference, c)) for region, c in REGIONS.items()},
        }
        for name in runs
    }


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """1 where both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0


if __name__ == "__main__":
    main()
