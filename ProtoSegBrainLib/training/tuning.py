"""A search for better loss weights: short trainings one after another, each with weights that the last ones suggest.

A search is a folder: optuna's ``study.db``, a training per trial (``trial_000`` ...), what came of it so far, written
anew after each (``trials.csv``, and ``best.yaml`` for ``train --network``), and at the end ``tuning.png``. A second run
goes on with it. The first trial is the configuration as it stands, so the best is never worse than what was there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.progress import Progress

if TYPE_CHECKING:
    import optuna
    from matplotlib.axes import Axes

    from ProtoSegBrainLib.training.recipe import TrainConfig

Search = Literal["loss", "all"]

SPAN = 8.0
"""A value is sought between its default / SPAN and its default * SPAN, evenly in its logarithm."""
DIGITS = 3
"""Significant digits of a value: what is trained is what best.yaml says."""


@dataclass(frozen=True)
class TuneConfig:
    """How long to search, and for what."""

    trials: int = field(default=20, metadata={"help": "trainings in all, with those of earlier runs of this search"})
    minutes: float = field(default=10.0, metadata={"help": "time of each training; 0: the configuration's own length"})
    search: Search = field(
        default="loss", metadata={"help": "loss: weights of the loss terms; all: learning rate and weight decay, too"}
    )

    def __post_init__(self) -> None:
        """Refuse what gives no search, naming the field."""
        if self.trials < 1:
            raise ValueError(f"trials: expected at least 1; got {self.trials}.")
        if self.minutes < 0:
            raise ValueError(f"minutes: expected 0 or more; got {self.minutes}.")
        if self.search not in get_args(Search):
            raise ValueError(f"search: expected one of {', '.join(get_args(Search))}; got {self.search!r}.")


@dataclass(frozen=True)
class Place:
    """What each trial trains on: folder of cases, file of the folds, the fold that is held out and scored.

    ``reading`` says what the files of the cases leave open.
    """

    data: Path
    splits: Path
    fold: str
    reading: Reading | None = None


def tune(
    start: TrainConfig, place: Place, out: Path, config: TuneConfig | None = None, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Search from ``start`` on, or go on with the search in ``out``, and write what came of it.

    Returns:
        Trials done, number, values and mean Dice of the best, mean Dice of ``start``, files by name.

    Raises:
        ImportError: optuna is not installed.
        FileNotFoundError: Data or splits are not there.
        ValueError: The fold holds no case out, there is nothing to search for, or ``out`` holds another search.
    """
    from ProtoSegBrainLib.training.train import read_split

    config = config or TuneConfig()
    if not read_split(place.splits, place.fold)[1]:
        raise ValueError(f"fold: a search needs held-out cases to score; fold {place.fold} of {place.splits} has none.")
    space = search_space(start, config.search)
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    study = _open_study(out, _settings(start, place, config), {name: value for name, (_, value, _) in space.items()})

    def objective(trial: optuna.Trial) -> float:
        return _score(trial, start, place, out, config, space, on_progress)

    def write(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        write_results(study, start, place, out)

    left = config.trials - len(_done(study))
    if left > 0:
        study.optimize(objective, n_trials=left, callbacks=[write])
    found = write_results(study, start, place, out)
    found["files"]["picture"] = draw_search(_done(study), out / "tuning.png")
    return found


def search_space(start: TrainConfig, search: Search) -> dict[str, tuple[float, float, float]]:
    """Lowest, present and highest value by dotted name of all that is sought.

    Terms that are off stay off, and those about prototypes where the network has none. The first term keeps its
    weight: the optimisers do not feel a common factor, so only ratios matter.

    Raises:
        ValueError: There is but one term, and nothing else is sought.
    """
    from ProtoSegBrainLib.network.networks import has_prototypes
    from ProtoSegBrainLib.training.losses import PROTOTYPE_TERMS, SEGMENTATION_TERMS

    known = [*SEGMENTATION_TERMS, *(PROTOTYPE_TERMS if has_prototypes(start.model) else ())]
    terms = [term for term in known if getattr(start.loss, term) > 0]
    names = [f"loss.{term}" for term in terms[1:]]
    names += ["learning_rate", "weight_decay"] if search == "all" else []
    values = {name: _value(start, name) for name in names}
    space = {name: (value / SPAN, value, value * SPAN) for name, value in values.items() if value > 0}
    if not space:
        raise ValueError("search: this network trains with one loss term, so there is no weight to seek; give all.")
    return space


def with_values(config: TrainConfig, values: Mapping[str, float]) -> TrainConfig:
    """``config`` with other values, given by dotted name (``loss.purity``)."""
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        changed: dict[str, Any] = {key: value}
        if section:
            changed = {section: replace(getattr(config, section), **changed)}
        config = replace(config, **changed)
    return config


def write_results(study: optuna.Study, start: TrainConfig, place: Place, out: Path) -> dict[str, Any]:
    """Table and best configuration of the trials that are done; the same as a summary."""
    from ProtoSegBrainLib.training.configuration import to_yaml

    done = _done(study)
    best, first = study.best_trial, done[0]
    files = {"trials": out / "trials.csv", "best": out / "best.yaml"}
    write_whole(files["trials"], _table(done))
    comment = (
        f"# Trial {best.number}, the best of {len(done)}: mean Dice {best.value:.4f} of the held-out cases of fold "
        f"{place.fold};\n# the configuration that the search began with has {first.value:.4f}. It was chosen by this "
        "fold: score it on others.\n"
    )
    write_whole(files["best"], comment + to_yaml(with_values(start, _rounded(best.params))))
    return {
        "trials": len(done),
        "best_trial": best.number,
        "best_dice": best.value,
        "first_dice": first.value,
        "best": _rounded(best.params),
        "files": files,
    }


# -- the study -----------------------------------------------------------------------------------------------------


def _open_study(out: Path, settings: dict[str, str], first: dict[str, float]) -> optuna.Study:
    """The study in ``out``, new or as an earlier run left it; ``first`` are the values of its first trial."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError('tune needs optuna: pip install "protosegbrain[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{(out / 'study.db').absolute()}",
        study_name="tuning",
        direction="maximize",
        load_if_exists=True,
    )
    if not study.user_attrs:
        for name, value in settings.items():
            study.set_user_attr(name, value)
        study.enqueue_trial(first)
    other = [name for name, value in settings.items() if study.user_attrs.get(name) != value]
    if other:
        raise ValueError(f"{out} holds a search with another {' and '.join(other)}; choose another folder.")
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # a run that was killed
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    # Seeded by what was drawn before: with one seed, every run of this search would draw the same trials again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    return study


def _settings(start: TrainConfig, place: Place, config: TuneConfig) -> dict[str, str]:
    """What must not change in the course of a search, because its trials are compared."""
    from ProtoSegBrainLib.training.configuration import to_yaml

    return {
        "configuration": to_yaml(start),
        "fold": f"{place.splits.name} {place.fold}",
        "length of training": f"{config.minutes} min",
        "search": config.search,
    }


def _done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _score(
    trial: optuna.Trial,
    start: TrainConfig,
    place: Place,
    out: Path,
    config: TuneConfig,
    space: Mapping[str, tuple[float, float, float]],
    on_progress: Progress | None,
) -> float:
    """Train with the trial's values; the mean Dice over regions and held-out cases, 0 where the training diverged."""
    from ProtoSegBrainLib.training.train import train

    values = {name: trial.suggest_float(name, low, high, log=True) for name, (low, _, high) in space.items()}
    tried = replace(
        with_values(start, _rounded(values)),
        minutes=config.minutes or start.minutes,
        cache=start.cache or str(out / "prepared"),
        name=f"trial-{trial.number}",
        portraits=False,
    )

    def on_trial(fraction: float, message: str) -> None:
        if on_progress:
            on_progress((trial.number + fraction) / config.trials, f"Trial {trial.number}: {message}")

    try:
        folder = out / f"trial_{trial.number:03d}"
        where = place.data, place.splits, place.fold
        summary = train(tried, *where, folder, on_progress=on_trial, reading=place.reading)
    except FloatingPointError:
        return 0.0
    for region, dice in summary["dice"].items():
        trial.set_user_attr(f"dice_{region}", dice)
    trial.set_user_attr("steps", summary["steps"])
    return float(np.mean(list(summary["dice"].values())))


def _value(config: Any, name: str) -> float:
    for part in name.split("."):
        config = getattr(config, part)
    return float(config)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}


# -- what came of it -----------------------------------------------------------------------------------------------


def _table(trials: list[optuna.trial.FrozenTrial]) -> str:
    """CSV, a row per trial."""
    rows = [{"trial": t.number, "dice": t.value, **t.user_attrs, **_rounded(t.params)} for t in trials]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw_search(trials: list[optuna.trial.FrozenTrial], path: Path) -> Path:
    """Dice over the trials, and over each value that was sought; the first trial and the best are marked."""
    from matplotlib.figure import Figure

    from ProtoSegBrainLib.pictures.drawing import save_figure

    names, dice = list(trials[0].params), np.array([trial.value for trial in trials])
    columns = min(4, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.0 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    history, numbers = next(panels), np.array([trial.number for trial in trials])
    history.step(numbers, np.maximum.accumulate(dice), where="post", color="0.6", label="best so far")
    _mark(history, numbers, dice)
    history.set_xlabel("trial")
    history.xaxis.get_major_locator().set_params(integer=True)
    for name, panel in zip(names, panels, strict=False):
        _mark(panel, np.array([trial.params[name] for trial in trials]), dice)
        _scale(panel, name, trials[0].params[name])
    for panel in panels:
        panel.set_visible(False)
    figure.supylabel("mean Dice of the held-out cases", fontsize="medium")
    figure.suptitle(f"{len(trials)} trials of {len(names)} values. Research use only", fontsize="medium")
    figure.legend(*history.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return save_figure(figure, path)


def _mark(panel: Axes, x: np.ndarray, dice: np.ndarray) -> None:
    best = int(np.argmax(dice))
    panel.plot(x, dice, "o", color="tab:blue", alpha=0.6, label="a trial")
    panel.plot(x[:1], dice[:1], "D", color="k", markerfacecolor="none", markersize=9, label="where it began")
    panel.plot(x[best], dice[best], "*", color="tab:orange", markersize=14, label="the best")
    panel.grid(alpha=0.3)


def _scale(panel: Axes, name: str, first: float) -> None:
    """The range that was sought, with its ends and its middle."""
    panel.set_xscale("log")
    panel.set_xlim(first / SPAN / 1.2, first * SPAN * 1.2)
    ticks = [first / SPAN, first, first * SPAN]
    panel.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.set_xlabel(name)
