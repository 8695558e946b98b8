"""Time our whole pipeline, files in to files out, against MONAI's SegResNet bundle on the same case and device.

    python benchmarks/inference.py --case DIR [--runs 5] [--threads 2] [--device cpu] [--out FILE.json]

Both sides run in their own process with the same threads and CPU cores. Runs alternate, so that whatever else the
machine does falls on both; each side warms up once, then the median counts. Peak memory is each process's own, as is
the processor time (summed over threads), which a busy machine disturbs least.

SegResNet is configured as in the MONAI model zoo's ``brats_mri_segmentation``: 16 filters, one sliding window of
240 x 240 x 160 with overlap 0.5, its transforms, one label map written. Its weights are random: only time is compared.
By default it runs in the precision we run in. The bundle's own mixed precision does nothing on a CPU;
``--segresnet-precision float32`` times that.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20


def main() -> None:
    options = parse_arguments()
    if options.side:
        serve(options)
        return
    ours, segresnet = measure(options)
    precision = ours["precision"] if options.segresnet_precision == "same" else options.segresnet_precision
    result = {
        "case": options.case.name,
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, {ours['device']}",
        "threads": options.threads,
        "runs": options.runs,
        "segresnet_precision": precision,
        "segresnet_weights": "random",
        "ours": summarise(ours),
        "segresnet": summarise(segresnet),
    }
    result["ratio"] = result["ours"]["median_s"]["total"] / result["segresnet"]["median_s"]["total"]
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    report(result)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, required=True, help="folder of one case")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each side after one warm-up")
    parser.add_argument("--threads", type=int, default=2, help="threads, and CPU cores, of each side")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="auto", help="of our network: auto, float32, bfloat16, float16")
    parser.add_argument("--segresnet-precision", default="same", help="same as ours, float32, bfloat16 or float16")
    parser.add_argument("--model", help="weights file, or 'random'; default: the bundled weights")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--side", choices=("ours", "segresnet"), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both sides' runs, taken in turn."""
    ours = Side("ours", options, options.precision)
    first = ours.run()
    precision = first["precision"] if options.segresnet_precision == "same" else options.segresnet_precision
    segresnet = Side("segresnet", options, precision)
    segresnet.run()
    for number in range(options.runs):
        print(f"run {number + 1} of {options.runs}", file=sys.stderr)
        ours.runs.append(ours.run()["timings_s"])
        segresnet.runs.append(segresnet.run()["timings_s"])
    return ours.close() | {"precision": first["precision"], "device": first["device"]}, segresnet.close()


class Side:
    """One of the two pipelines in a process of its own, which answers a line of input with a line of JSON."""

    def __init__(self, name: str, options: argparse.Namespace, precision: str) -> None:
        command = [sys.executable, __file__, "--side", name, "--case", str(options.case)]
        command += ["--threads", str(options.threads), "--device", options.device, "--precision", precision]
        command += ["--model", options.model] if options.model else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.name = name
        self.runs: list[dict[str, float]] = []
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"The {self.name} process ended early (exit code {self.process.wait()}).")
        return json.loads(answer)

    def close(self) -> dict[str, Any]:
        memory, _ = self.process.communicate()
        return {"runs": self.runs, **json.loads(memory.splitlines()[-1])}


def serve(options: argparse.Namespace) -> None:
    """The child's loop: a run per line of input, peak memory at the end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    import torch

    torch.set_num_threads(options.threads)
    pipeline = prepare_ours(options) if options.side == "ours" else prepare_segresnet(options)
    for _ in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            start, cpu_start = time.perf_counter(), time.process_time()
            answer = pipeline(Path(folder))
            answer["timings_s"]["total"] = time.perf_counter() - start
            answer["timings_s"]["processor time"] = time.process_time() - cpu_start
        print(json.dumps(answer), file=answers, flush=True)
    peak = {"peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB}
    if options.device == "cuda":
        peak["peak_gpu_mib"] = torch.cuda.max_memory_reserved() / MIB
    print(json.dumps(peak), file=answers, flush=True)


def prepare_ours(options: argparse.Namespace) -> Callable[[Path], dict[str, Any]]:
    from ProtoSegBrainLib.images.case import read_case
    from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet
    from ProtoSegBrainLib.network.weights import ModelCard, load_model
    from ProtoSegBrainLib.result.prediction_files import write_prediction
    from ProtoSegBrainLib.segmentation.memory import keep_freed_memory
    from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

    keep_freed_memory()  # as the command line and the worker do
    if options.model == "random":
        network = ProtoSegNet(ModelConfig()).eval()
        model = network, ModelCard("random", network.config)
    else:
        model = load_model(Path(options.model) if options.model else None)
    config = PredictConfig(device=options.device, precision=options.precision)

    def pipeline(folder: Path) -> dict[str, Any]:
        start = time.perf_counter()
        case = read_case(options.case, with_label=False)
        read = time.perf_counter()
        prediction = predict(case, model, config)
        predicted = time.perf_counter()
        write_prediction(prediction, folder)
        written = time.perf_counter()
        device, precision = prediction.device.split()
        timings = {"read": read - start, **prediction.timings_s, "write": written - predicted}
        return {"timings_s": timings, "device": device, "precision": precision}

    return pipeline


def prepare_segresnet(options: argparse.Namespace) -> Callable[[Path], dict[str, Any]]:
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import SegResNet
    from monai.transforms import (
        Activationsd,
        AsDiscreted,
        Compose,
        Lambdad,
        LoadImaged,
        NormalizeIntensityd,
        SaveImaged,
    )

    from ProtoSegBrainLib.images.case import read_case

    files = read_case(options.case, with_label=False).files
    network = SegResNet(
        blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1), init_filters=16, in_channels=4, out_channels=3, dropout_prob=0.2
    )
    network = network.eval().to(options.device)
    precision = getattr(torch, options.precision)
    before = Compose([LoadImaged("image"), NormalizeIntensityd("image", nonzero=True, channel_wise=True)])
    inferer = SlidingWindowInferer(roi_size=(240, 240, 160), sw_batch_size=1, overlap=0.5)

    def to_labels(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))

    def after(folder: Path) -> Compose:
        save = SaveImaged(
            "pred", output_dir=folder, output_postfix="seg", output_dtype="uint8", resample=False, print_log=False
        )
        return Compose(
            [Activationsd("pred", sigmoid=True), AsDiscreted("pred", threshold=0.5), Lambdad("pred", to_labels), save]
        )

    @torch.inference_mode()
    def pipeline(folder: Path) -> dict[str, Any]:
        start = time.perf_counter()
        image = before({"image": [files[role] for role in ("t1c", "t1n", "t2w", "t2f")]})["image"]
        prepared = time.perf_counter()
        with torch.autocast(options.device, dtype=precision, enabled=precision != torch.float32):
            logits = inferer(image[None].to(options.device), network)[0].cpu().float()
        inferred = time.perf_counter()
        after(folder)({"pred": logits})
        written = time.perf_counter()
        stages = {"read and prepare": prepared - start, "network": inferred - prepared, "write": written - inferred}
        return {"timings_s": stages}

    return pipeline


def summarise(side: dict[str, Any]) -> dict[str, Any]:
    runs = side.pop("runs")
    medians = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    return {"median_s": medians, "min_s": {stage: min(run[stage] for run in runs) for stage in medians}, **side}


def report(result: dict[str, Any]) -> None:
    print(f"{result['case']}; {result['machine']}; {result['threads']} threads")
    print(f"median (fastest) of {result['runs']} runs, alternating")
    for name in ("ours", "segresnet"):
        side = result[name]
        note = side.get("precision") or f"{result['segresnet_precision']}, random weights"
        print(f"\n{name} ({note})")
        for stage, seconds in side["median_s"].items():
            print(f"  {stage:<18}{seconds:8.3f} s  ({side['min_s'][stage]:.3f})")
        for key in ("peak_rss_mib", "peak_gpu_mib"):
            if key in side:
                print(f"  {key:<18}{side[key]:8.0f}")
    print(f"\nratio ours/segresnet: {result['ratio']:.4f}")


if __name__ == "__main__":
    main()
