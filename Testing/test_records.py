"""Plain values become dataclasses, or what is wrong is named by its place."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest

from ProtoSegBrainLib.records import by_hand, read_json, require, shown, stored


@dataclass(frozen=True)
class Ours:
    widths: tuple[int, ...] = (1, 2)
    reach: float | None = field(default=1.5, metadata={"older": None})


@dataclass(frozen=True)
class Theirs:
    architecture: str
    window: int | None = None


@dataclass(frozen=True)
class Outer:
    model: Ours | Theirs = field(default_factory=Ours)
    steps: int = field(default=10, metadata={"help": "how many"})
    on: bool = False
    name: str = ""
    pair: tuple[float, float] = (0.0, 1.0)
    kind: Literal["log", "cosine"] = "log"
    rows: tuple[tuple[float, ...], ...] = ()
    parts: tuple[Ours, ...] = ()
    scores: dict[str, float] = field(default_factory=dict, metadata={"older": {}})
    notes: dict[str, Any] = field(default_factory=dict, metadata={"older": {}})

    def __post_init__(self):
        require(self.steps > 0, f"steps: expected at least 1; got {self.steps}.")


FULL = Outer(
    Ours((4,), 2.5),
    name="a",
    rows=((1.0, 2.5), ()),
    parts=(Ours(), Ours((3,), None)),
    scores={"WT": 0.9},
    notes={"by": ["anybody", {"n": None}]},
)


def changed(**values: Any) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(FULL))) | values


# -- what is read ------------------------------------------------------------------------------------------------------


def test_what_was_written_comes_back() -> None:
    assert stored(changed(), Outer) == FULL
    assert stored(asdict(FULL), Outer) == FULL, "tuples are lists, too"


def test_a_whole_number_is_a_number() -> None:
    read = stored(changed(pair=[1, 2]), Outer)
    assert read.pair == (1.0, 2.0)
    assert type(read.pair[0]) is float


def test_a_stored_record_may_lack_what_is_younger_than_the_format_and_nothing_else() -> None:
    content = changed(model={"widths": [4]})
    del content["scores"]
    read = stored(content, Outer)
    assert (read.model, read.scores) == (Ours((4,), None), {})
    read.scores["WT"] = 1.0
    assert stored(content, Outer).scores == {}, "no two records share one"
    del content["steps"], content["on"]
    with pytest.raises(ValueError, match=r"^steps, on missing"):
        stored(content, Outer)
    with pytest.raises(ValueError, match=r"^parts\[1\]: widths missing"):
        stored(changed(parts=[{"widths": []}, {}]), Outer)


def test_what_a_person_leaves_out_has_its_default() -> None:
    assert by_hand({}, Outer) == by_hand(None, Outer) == Outer()
    assert by_hand({"model": {"widths": [4]}}, Outer).model == Ours((4,), 1.5)
    assert by_hand({"model": None, "pair": ["1e-4", 2]}, Outer).pair == (0.0001, 2.0)


def test_an_architecture_makes_a_section_another_class() -> None:
    assert by_hand({"model": {"architecture": "unet", "window": 8}}, Outer).model == Theirs("unet", 8)
    assert by_hand({"model": {"widths": [4], "reach": None}}, Outer).model == Ours((4,), None)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [by_hand, stored])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, r"stepz: unknown key \(did you mean steps\?\); known here: model, steps, on"),
        ({"model": {"widhts": [3]}}, r"model\.widhts: unknown key \(did you mean widths\?\)"),
        ({"model": {"architecture": "unet", "widths": [3]}}, r"model\.widths: unknown key; known here: architecture"),
        ({"model": 3}, r"model: expected a section of keys and values; got 3"),
        ({"steps": "many"}, r"steps: expected a whole number; got 'many'"),
        ({"steps": 2.5}, r"steps: expected a whole number; got 2\.5"),
        ({"steps": True}, r"steps: expected a whole number; got True"),
        ({"steps": None}, r"steps: expected a whole number; got None"),
        ({"steps": 0}, r"^steps: expected at least 1; got 0"),
        ({"on": 1}, r"on: expected true or false; got 1"),
        ({"name": 7}, r"name: expected a text; got 7"),
        ({"name": [1, 2]}, r"name: expected a text; got \[1, 2\]"),
        ({"kind": "euclid"}, r"kind: expected one of log, cosine; got 'euclid'"),
        ({"kind": []}, r"kind: expected one of log, cosine; got \[\]"),
        ({"pair": 1}, r"pair: expected a list, as \[1, 2\]; got 1"),
        ({"pair": "ab"}, r"pair: expected a list, as \[1, 2\]; got 'ab'"),
        ({"pair": [1]}, r"pair: expected a list of 2; got \[1\]"),
        ({"pair": [1, "x"]}, r"pair\[1\]: expected a number; got 'x'"),
        ({"rows": [[1.0], [2.0, math.nan]]}, r"rows\[1\]\[1\]: expected a number; got nan"),
        ({"rows": [[1.0], [1e308, 1e308, None]]}, r"rows\[1\]\[2\]: expected a number; got None"),
        ({"rows": [[10**400]]}, r"rows\[0\]\[0\]: expected a number; got 1000"),
        ({"parts": [{"widths": [1, {}], "reach": 1.0}]}, r"parts\[0\]\.widths\[1\]: expected a whole number; got \{\}"),
        ({"scores": {"WT": "good"}}, r"scores\.WT: expected a number; got 'good'"),
        ({"model": {"reach": math.inf}}, r"model\.reach: expected a number; got inf"),
        ({"model": {"reach": True}}, r"model\.reach: expected a number; got True"),
    ],
)
def test_a_wrong_value_is_named(read: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(values if read is by_hand else changed(**values), Outer)


def test_a_number_in_quotes_is_none_in_what_a_program_wrote() -> None:
    with pytest.raises(ValueError, match=r"pair\[0\]: expected a number; got '1e-4'"):
        stored(changed(pair=["1e-4", 2]), Outer)


def test_a_huge_value_is_cut_in_the_message() -> None:
    assert len(shown("x" * 10**6)) < 100
    nested: list[Any] = []
    for _ in range(10**5):
        nested = [nested]
    assert len(shown(nested)) < 100


def test_large_numbers_whose_sum_overflows_are_numbers() -> None:
    assert stored([1e308, 1e308], tuple[float, ...]) == (1e308, 1e308)


# -- JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON; Expecting value"),
        (b"\xff\xfe", "expected JSON in UTF-8; byte 0"),
        (b"{'a': 1}", "expected JSON; "),
        (b"[" * 10**6, "expected JSON; it is nested too deeply"),
        (b"1" * 10**5, "expected JSON; "),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Any, content: bytes, message: str) -> None:
    path = tmp_path / "content.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(path)


def test_json_is_read_as_utf8(tmp_path: Any) -> None:
    path = tmp_path / "content.json"
    path.write_bytes('{"name": "Gehirn – ö"}'.encode())
    assert read_json(path) == {"name": "Gehirn – ö"}
