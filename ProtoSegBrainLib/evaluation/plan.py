"""What a benchmark compares, and where everything of it lies.

A benchmark is a folder with a folder per network, `OUT/<network>/`, which holds its configuration (`config.yaml`), a
run per fold (`fold_0`, as `train` writes it), the `predictions` of the held-out cases and their scores (`scores.csv`).
`OUT/times.json` says how long the networks take.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ProtoSegBrainLib.images.folders import CaseFiles, list_cases
from ProtoSegBrainLib.images.study import Reading

STAGES = ("train", "predict", "time", "report")
CONFIG_NAME, SCORES_NAME, TIMES_NAME, PREDICTIONS = "config.yaml", "scores.csv", "times.json", "predictions"


@dataclass(frozen=True)
class BenchmarkConfig:
    """What is the same for all networks, whatever their own configurations say.

    Sampling and augmentation are those of the default configuration.
    """

    minutes: float = field(default=60.0, metadata={"help": "training time of each network and fold"})
    patch_size: int = field(default=96, metadata={"help": "edge of the training patches in voxels"})
    batch_size: int = field(default=2, metadata={"help": "patches per step"})
    least_rate: float = field(
        default=1e-3,
        metadata={"help": "learning rates below are raised to it: 1e-4 is for days, and learns nothing in minutes"},
    )
    seed: int = field(default=0, metadata={"help": "seed of everything random in training"})
    device: str = field(default="auto", metadata={"help": "where to train: auto, cpu, cuda or mps"})
    parallel: int = field(default=1, metadata={"help": "trainings at the same time; they share the processor's cores"})
    timed_cases: int = field(default=5, metadata={"help": "held-out cases on which every network is timed"})
    cache: str = field(default="", metadata={"help": "folder for prepared cases (default: prepared/ in --out)"})
    remark: str = field(default="", metadata={"help": "a sentence for the report: what a reader must know of the runs"})

    def __post_init__(self) -> None:
        """Refuse what no run could use, naming the field."""
        if self.minutes <= 0:
            raise ValueError(f"minutes: expected more than 0; got {self.minutes}.")
        for name in ("parallel", "timed_cases"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1; got {getattr(self, name)}.")


@dataclass(frozen=True)
class Plan:
    """Which networks are compared, on which folds, and where.

    Attributes:
        data: Folder of labelled cases.
        splits: JSON file with the folds.
        out: Folder of the benchmark.
        networks: Configurations by name or as YAML files; the first is the one that the others are compared with.
        folds: Numbers of the folds that are held out in turn.
        config: What is the same for all.
        reading: What the files of the cases leave open.
    """

    data: Path
    splits: Path
    out: Path
    networks: tuple[str, ...]
    folds: tuple[str, ...]
    config: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        """Refuse names that would share a folder."""
        for what, values in (("--networks", self.names), ("--folds", self.folds)):
            repeated = sorted({value for value in values if values.count(value) > 1})
            if repeated or not values:
                raise ValueError(f"{what}: expected different names, got {' '.join(values) or 'none'}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the networks; a file's is its own without the ending."""
        return tuple(Path(network).stem for network in self.networks)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Fold by fold, so that a benchmark that was stopped has whole folds."""
        return tuple(Run(name, fold, self.out / name) for fold in self.folds for name in self.names)


@dataclass(frozen=True)
class Run:
    """The training of one network with one fold held out; ``home`` is the network's folder."""

    network: str
    fold: str
    home: Path

    @property
    def name(self) -> str:
        return f"{self.network}, fold {self.fold}"

    @property
    def folder(self) -> Path:
        return self.home / f"fold_{self.fold}"

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def messages(self) -> Path:
        """What `train` said."""
        return self.folder / "messages.txt"

    @property
    def is_trained(self) -> bool:
        """Whether `train` has come to its end; it writes the summary after the model."""
        return self.model.is_file() and (self.folder / "summary.json").is_file()


def trained(plan: Plan) -> list[Run]:
    """The runs of the plan that are trained.

    Raises:
        FileNotFoundError: There is none.
    """
    runs = [run for run in plan.runs if run.is_trained]
    if not runs:
        raise FileNotFoundError(
            f"{plan.out} holds no trained run of {', '.join(plan.names)}; do the stage train first."
        )
    return runs


def held_out(plan: Plan, fold: str) -> dict[str, CaseFiles]:
    """What ``read_case`` takes, by the ids of the fold's cases.

    Raises:
        FileNotFoundError: One of them is not in the data.
    """
    from ProtoSegBrainLib.training.train import read_split

    cases = {case.case_id: case for case in list_cases(plan.data.absolute())}
    _, case_ids = read_split(plan.splits, fold)
    missing = [case_id for case_id in case_ids if case_id not in cases]
    if missing:
        raise FileNotFoundError(f"{plan.data} lacks cases of fold {fold}: {', '.join(missing)}.")
    return {case_id: cases[case_id] for case_id in case_ids}
