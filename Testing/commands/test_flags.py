import argparse
from dataclasses import dataclass, field
from typing import Literal

import pytest

from ProtoSegBrainLib.commands.flags import add_flags, with_flags


@dataclass(frozen=True)
class Inner:
    weight: float = field(default=0.5, metadata={"help": "share of 50%"})
    on: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    steps: int = 10
    tile: int | None = None
    name: str = "plain"
    widths: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] = (0.0, 1.0)
    kind: Literal["log", "cosine"] = "log"


def parse(*arguments, config=None, skip=()):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser, Outer, skip=skip)
    return with_flags(config or Outer(), parser.parse_args(arguments))


def test_without_flags_the_config_stays_as_it_is():
    base = Outer(steps=3, inner=Inner(on=True))
    assert parse(config=base) == base


def test_each_type_is_read():
    config = parse(
        *("--steps", "4", "--tile", "64", "--name", "n", "--widths", "8", "16", "32"),
        *("--pair", "2", "3.5", "--kind", "cosine", "--inner-weight", "0.1", "--inner-on"),
    )
    assert config == Outer(Inner(0.1, True), 4, 64, "n", (8, 16, 32), (2.0, 3.5), "cosine")


def test_a_flag_overrides_only_its_own_field():
    assert parse("--inner-weight", "1", config=Outer(inner=Inner(on=True))).inner == Inner(1.0, True)


def test_no_turns_a_default_off():
    assert parse("--no-inner-on", config=Outer(inner=Inner(on=True))).inner.on is False


@pytest.mark.parametrize("arguments", [("--steps", "many"), ("--kind", "euclid"), ("--pair", "1", "2", "3")])
def test_a_wrong_value_is_refused(arguments):
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse(*arguments)


def test_skipped_fields_get_no_flag():
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parse("--steps", "4", skip=("steps",))


def test_help_shows_text_and_default():
    parser = argparse.ArgumentParser()
    add_flags(parser, Outer)
    shown = " ".join(parser.format_help().split())
    assert "share of 50% (default: 0.5)" in shown
    assert "--widths [INT ...] (default: 1 2)" in shown


def test_a_type_without_a_flag_is_named():
    @dataclass
    class Odd:
        table: dict = field(default_factory=dict)

    with pytest.raises(TypeError, match="table"):
        add_flags(argparse.ArgumentParser(), Odd)
