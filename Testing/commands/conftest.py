"""A model, two cases, a result, and how a command is run, for the tests of all commands."""

import json

import pytest
from small_model import save_small_model

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.simulation.simulate import simulate_case, write_case


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed in (1, 2):
        write_case(simulate_case(seed, shape=(52, 52, 52)), folder)
    return folder


@pytest.fixture(scope="session")
def result(data, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    assert main(["segment", "--case", str(data / "simulated_1"), "--out", str(folder), "--model", str(model)]) == 0
    return folder


@pytest.fixture
def run(capsys):
    """Runs a command with --json; returns exit code and the one object that stands on standard output."""

    def run_command(*arguments):
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run_command
