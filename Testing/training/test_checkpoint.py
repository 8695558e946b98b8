"""A run goes on from its checkpoint as if it had never been stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from short_runs import CASES, CONFIG, DEEP, PLAIN, REGIONS, assert_same_state, curve, run
from synthetic import TINY

from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "changes",
    [
        {"warm_up_share": 0.75},  # stopped in the warm-up, the border lies ahead
        {"warm_up_share": 0.5},  # stopped at the border
        {"warm_up_share": 0.2},  # stopped in the joint phase
        {"warm_up_share": 0.2, "reseed_at": (0.5, 0.75), "reseed_distance": 0.001},  # stopped before a move
        {"warm_up_share": 0.2, "reseed_at": (0.4, 0.75), "reseed_distance": 0.001},  # stopped between two
        {"schedule": "plateau", "optimiser": "adam"},
        {"optimiser": "sgd", "accumulation": 2},
        {"optimiser": "muon"},
        {"model": replace(TINY, norm="batch"), "precision": "bfloat16"},
    ],
    ids=str,
)
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path, changes):
    config = replace(CONFIG, **changes)
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "halves", until_step=4)
    resumed = PrototypeTrainer(config, CASES, tmp_path / "halves")
    resumed.load_checkpoint()
    assert resumed.step == 4
    resumed.run()
    assert resumed.plateau == whole.plateau
    assert_same_state(resumed, whole)
    assert curve(tmp_path / "halves") == curve(tmp_path / "whole")
    assert len(list((tmp_path / "halves").glob("checkpoint-*.safetensors"))) == 1


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    first = PrototypeTrainer(CONFIG, CASES, tmp_path)
    first.save_checkpoint()
    wider = replace(CONFIG, model=replace(TINY, widths=(8, 16)))
    with pytest.raises(ValueError, match="trains another network"):
        PrototypeTrainer(wider, CASES, tmp_path).load_checkpoint()


@pytest.mark.parametrize("model", [PLAIN, REGIONS, DEEP], ids=str)
def test_a_resumed_run_without_prototypes_equals_one_that_was_never_stopped(tmp_path, model):
    config = replace(CONFIG, model=model, steps=4)
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "halves", until_step=2)
    resumed = Trainer(config, CASES, tmp_path / "halves")
    resumed.load_checkpoint()
    resumed.run()
    assert_same_state(resumed, whole)
