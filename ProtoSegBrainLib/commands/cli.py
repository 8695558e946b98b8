"""The command line: reads flags, runs a command, says how it went.

Standard output carries the answer alone: text, or with `--json` one JSON object. Messages and progress go to standard
error. The exit code is 0 when done, 2 on bad input, 1 when something else failed (of many cases: at least one).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import math
import re
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ProtoSegBrainLib.commands.console import is_first_process
from ProtoSegBrainLib.commands.segmentation import COMMANDS
from ProtoSegBrainLib.errors import BAD_INPUT
from ProtoSegBrainLib.segmentation.memory import keep_freed_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    if arguments is None:  # this is the program, and its process is ours
        keep_freed_memory()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill tidies up as Ctrl-C does
    arguments = _with_negative_values(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in arguments
    try:
        options = build_parser(arguments).parse_args(arguments)
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library may print is not the answer
            answer = COMMANDS[options.command].run(options)
    except BAD_INPUT as error:
        return _fail(2, str(error), as_json)
    except KeyboardInterrupt:
        return _fail(1, "Interrupted.", as_json)
    except Exception as error:
        traceback.print_exc()
        return _fail(1, f"{type(error).__name__}: {error}", as_json)
    if is_first_process():
        print(_as_json(answer.values) if as_json else answer.text or _as_json(answer.values, indent=2))
    return answer.exit_code


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for these arguments; flags of the commands they do not name are left out, as they load torch."""
    parser = _Parser(prog="protosegbrain", description="Brain tumour segmentation by prototypes. Research use only.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.summary, description=command.summary, allow_abbrev=False)
        if name in arguments:
            subparser.add_argument("--json", action="store_true", help="answer with one JSON object")
            command.add_flags(subparser)
    return parser


class _Parser(argparse.ArgumentParser):
    """Wrong flags are bad input like any other: an exception, which `main` reports."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see: {self.prog} --help)")


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
        print(_as_json({"error": message}))
    return code


def _as_json(values: Mapping[str, Any], indent: int | None = None) -> str:
    return json.dumps(_plain(values), indent=indent)


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
