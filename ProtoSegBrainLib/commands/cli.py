"""The command line: reads flags, runs a command, says how it went.

Standard output carries the answer alone: text, or with `--json` one JSON object. Messages and progress go to standard
error. The exit code is 0 when done, 2 on bad input, 1 when something else failed (of many cases: at least one). What
went wrong is said in a sentence; with `--debug`, or PROTOSEGBRAIN_DEBUG=1 in the environment, also where.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ProtoSegBrainLib.commands import (
    correction,
    data,
    evaluation,
    explanation,
    followup,
    models,
    prototypes,
    segmentation,
    series,
    training,
)
from ProtoSegBrainLib.commands.console import Answer, is_first_process, open_streams
from ProtoSegBrainLib.errors import BAD_INPUT, SAYING_ENOUGH, sentence
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.segmentation.memory import keep_freed_memory


class Command(NamedTuple):
    """One word of the command line: a function that adds its flags, and one that runs it.

    Both import what they need themselves: torch takes seconds to load, and the help of the others should not.
    """

    summary: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Answer]


COMMANDS = {
    "segment": Command("Segment one case.", segmentation.add_segment_flags, segmentation.segment),
    "segment-folder": Command(
        "Segment every case of a folder.", segmentation.add_segment_folder_flags, segmentation.segment_folder
    ),
    "worker": Command(
        "Segment what another program asks for, line by line.", segmentation.add_worker_flags, segmentation.worker
    ),
    "series": Command("List the series of a folder of DICOM.", series.add_series_flags, series.series),
    "train": Command("Train the network on labelled cases.", training.add_train_flags, training.train),
    "evaluate": Command(
        "Score predictions against the experts' labels.", evaluation.add_evaluate_flags, evaluation.evaluate
    ),
    "info": Command("Show the card of a model: origin, prototypes, scores.", models.add_info_flags, models.info),
    "portray": Command(
        "Measure a model's prototypes on its training cases, for its card.",
        prototypes.add_portray_flags,
        prototypes.portray,
    ),
    "cards": Command("Make a page with a card for each prototype.", prototypes.add_cards_flags, prototypes.cards),
    "faithfulness": Command(
        "Measure whether the explanations are the reason.", prototypes.add_faithfulness_flags, prototypes.faithfulness
    ),
    "explain": Command(
        "Show what each prototype added to the decision at a place.", explanation.add_explain_flags, explanation.explain
    ),
    "whatif": Command(
        "Turn prototypes of a result off: the new result, without the network.",
        explanation.add_whatif_flags,
        explanation.whatif,
    ),
    "teach": Command(
        "Correct a result by pointing: each place is a prototype.", correction.add_teach_flags, correction.teach
    ),
    "follow": Command("Compare the scans of one patient at several dates.", followup.add_follow_flags, followup.follow),
    "prune": Command(
        "Remove prototypes from a model and fit its last layer again.", prototypes.add_prune_flags, prototypes.prune
    ),
    "benchmark": Command(
        "Train networks on the same folds and compare them.", evaluation.add_benchmark_flags, evaluation.benchmark
    ),
    "tune": Command("Search for better loss weights by short trainings.", training.add_tune_flags, training.tune),
    "figures": Command(
        "Draw a training run, or predictions against the labels.", evaluation.add_figures_flags, evaluation.figures
    ),
    "data": Command("Check a folder of cases: table, problems, pictures.", data.add_check_flags, data.check),
    "export": Command("Write a model for other programs: ONNX, MONAI bundle.", models.add_export_flags, models.export),
    "simulate": Command("Make a simulated case: four modalities and labels.", data.add_simulate_flags, data.simulate),
    "demo": Command("Simulate a case, segment it, show what came out.", segmentation.add_demo_flags, segmentation.demo),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    if arguments is None:  # this is the program, and its process is ours
        open_streams()
        keep_freed_memory()
        _tidy_up_when_ended()
    arguments = _with_negative_values(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in arguments
    try:
        options = build_parser(arguments).parse_args(arguments)
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library may print is not the answer
            answer = COMMANDS[options.command].run(options)
    except KeyboardInterrupt:
        return _fail(1, "Interrupted.", as_json)
    except Exception as error:
        if "--debug" in arguments or os.environ.get("PROTOSEGBRAIN_DEBUG"):
            traceback.print_exc()
        if isinstance(error, SAYING_ENOUGH):
            return _fail(2 if isinstance(error, BAD_INPUT) else 1, sentence(error), as_json)
        return _fail(1, _unexpected(error), as_json)
    if not is_first_process() or _say(_as_json(answer.values) if as_json else answer.text or _indented(answer.values)):
        return answer.exit_code
    return answer.exit_code if getattr(options, "out", None) else 1  # without files, the answer was all there is


def _tidy_up_when_ended() -> None:
    """A polite kill, or a terminal that closes, ends the program as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, signal.default_int_handler)


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these arguments; flags of the commands they do not name are left out, as they load torch."""
    parser = _Parser(prog="protosegbrain", description="Brain tumour segmentation by prototypes. Research use only.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        if name in arguments:
            subparser.add_argument("--json", action="store_true", help="answer with one JSON object")
            subparser.add_argument("--debug", action="store_true", help="show where an error came from")
            command.add_flags(subparser)
    return parser


class _Parser(argparse.ArgumentParser):
    """Wrong flags are bad input like any other: an exception, which `main` reports; a path has a name."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.register("type", Path, _path)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see: {self.prog} --help)")


def _path(text: str) -> Path:
    """``Path("")`` would be the folder of the moment, which nobody means who gives an empty name."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty name")
    return Path(text)


def _with_negative_values(arguments: Sequence[str]) -> list[str]:
    """``--at -1,2,3`` becomes ``--at=-1,2,3``, because argparse would take the list for a flag."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1].startswith("--") and re.match(r"-[\d.]+,", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _fail(code: int, message: str, as_json: bool) -> int:
    print(f"protosegbrain: {message}", file=sys.stderr)
    if as_json and is_first_process():
        _say(_as_json({"error": message}))
    return code


def _say(text: str) -> bool:
    """Write the answer; whether it could be, or nobody wanted to hear it."""
    print(text, flush=True)
    lost = getattr(sys.stdout, "lost", None)
    if lost is None or isinstance(lost, BrokenPipeError):
        return True
    print(f"protosegbrain: The answer could not be written to standard output ({sentence(lost)}).", file=sys.stderr)
    return False


def _unexpected(error: Exception) -> str:
    """A sentence on a fault of the program, and where its details are."""
    path = Path(tempfile.gettempdir()) / f"protosegbrain_error_{os.getpid()}.txt"
    try:
        write_whole(path, "".join(traceback.format_exception(error)))
    except OSError:
        return f"Unexpected error ({sentence(error)}). Please report it; --debug shows the details."
    return f"Unexpected error ({sentence(error)}). Please report it with the details in {path}."


def _as_json(values: Mapping[str, Any]) -> str:
    return json.dumps(_plain(values))


def _indented(values: Mapping[str, Any]) -> str:
    return json.dumps(_plain(values), indent=2)


def _plain(value: Any) -> Any:
    """The value in JSON's types; what JSON has no number for (NaN, infinity) becomes null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    if hasattr(value, "item"):  # numpy's numbers
        return _plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (bool, int, str, type(None))) else str(value)
