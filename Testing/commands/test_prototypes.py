"""The commands portray, cards, faithfulness and prune."""

import json
from dataclasses import replace

import pytest
from small_model import SMALL

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.network import weights
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.patches.cases import in_memory
from ProtoSegBrainLib.simulation import simulate
from ProtoSegBrainLib.simulation.simulate import simulate_case
from ProtoSegBrainLib.training.prototypes import project_prototypes


@pytest.fixture
def projected(data, tmp_path):
    """A model whose prototypes are patches of the two cases, not yet portrayed; these are too small for pure ET."""
    config = replace(SMALL, prototypes_per_class=(1, 0, 2, 0))
    network = ProtoSegNet(config)
    cases = [in_memory(read_case(case)) for case in list_cases(data)]
    prototypes = project_prototypes(network, cases)
    training = {"cases": [case.case_id for case in cases]}
    path = tmp_path / "projected.safetensors"
    weights.save_model(path, network, weights.ModelCard("tiny", config, prototypes, training=training))
    return path


# -- portray and cards ---------------------------------------------------------------------------------------------


def test_portray_rewrites_the_card_and_leaves_the_weights(run, data, projected):
    before, old = projected.read_bytes(), weights.read_card(projected)
    code, answer = run("portray", "--model", projected, "--data", data)
    card = weights.read_card(projected)
    assert (code, answer["cases"]) == (0, 2)
    assert projected.read_bytes() == before
    assert all(len(p.similarity_quantiles) == 101 and p.neighbours for p in card.prototypes)
    assert not any(p.neighbours for p in old.prototypes)
    assert replace(card, prototypes=old.prototypes) == old


def test_portray_needs_the_training_cases(run, data, model, projected, tmp_path):
    code, answer = run("portray", "--model", model, "--data", data)
    assert code == 2
    assert "which training cases" in answer["error"]
    (tmp_path / "empty").mkdir()
    code, _ = run("portray", "--model", projected, "--data", tmp_path / "empty")
    assert code == 2


@pytest.mark.parametrize("images", ["none", "data", "simulated"])
def test_cards_are_one_page_with_or_without_images(images, run, data, projected, tmp_path, monkeypatch):
    def small(seed, config):
        return simulate_case(seed, (52, 52, 52), config)

    monkeypatch.setattr(simulate, "simulate_case", small)
    flags = {"none": [], "data": ["--data", data], "simulated": ["--simulated"]}[images]
    code, answer = run("cards", "--out", tmp_path / "page", "--model", projected, *flags)
    page = (tmp_path / "page" / "cards.html").read_text()
    assert code == 0
    assert answer["patches"] == (3 if flags else 0)
    assert [card["class"] for card in answer["prototypes"]] == ["background", "ED", "ED"]
    assert page.count("<article>") == 3
    assert page.count("SIMULATED") == (3 if images == "simulated" else 0)
    assert run("cards", "--out", tmp_path / "page", "--model", projected)[0] == 2  # not overwritten unasked


def test_cards_need_prototypes_and_their_cases(run, model, projected, tmp_path):
    assert run("cards", "--out", tmp_path / "page", "--model", model)[0] == 2
    (tmp_path / "empty").mkdir()
    code, answer = run("cards", "--out", tmp_path / "page", "--model", projected, "--data", tmp_path / "empty")
    assert code == 2
    assert "empty" in answer["error"]
    assert not (tmp_path / "page").exists()


def test_cards_that_are_there_are_refused_before_the_work(run, projected, tmp_path, monkeypatch):
    (tmp_path / "cards.html").touch()
    monkeypatch.setattr(simulate, "simulate_case", lambda *_, **__: pytest.fail("worked in vain"))
    assert run("cards", "--out", tmp_path, "--model", projected, "--simulated")[0] == 2


# -- faithfulness --------------------------------------------------------------------------------------------------


QUICK = ("--levels", 3, "--deletion-cases", 1, "--margin-mm", 4, "--device", "cpu")


def test_faithfulness_measures_the_held_out_cases_alone(run, data, model, tmp_path):
    splits, out = tmp_path / "splits.json", tmp_path / "table.json"
    splits.write_text(json.dumps({"folds": [["simulated_1"], ["simulated_2"]]}))
    flags = ("--data", data, "--model", model, "--splits", splits, "--fold", 1, "--cache", tmp_path / "cache")
    code, answer = run("faithfulness", *flags, *QUICK, "--out", out)
    assert code == 0
    assert answer["cases"] == ["simulated_2"]
    assert (answer["selection"], answer["seen_in_training"]) == ("held-out cases of fold 1 of splits.json", 0)
    written = json.loads(out.read_text())
    assert written["purity.ET"] == answer["purity.ET"]
    assert answer["dice_without_each"]["n"] == 4
    assert answer["incremental_deletion.random"]["n"] <= 1
    assert written["config"]["levels"] == 3


def test_faithfulness_without_a_fold_takes_all_cases_and_shows_a_table(capsys, data, model, tmp_path):
    flags = ["--data", data, "--model", model, "--out", tmp_path / "table.json", *QUICK[2:], "--deletion-cases", 0]
    assert main(["faithfulness", *map(str, flags)]) == 0
    shown = capsys.readouterr().out
    assert f"2 cases (all cases of {data.name})" in shown
    assert "error_auroc.entropy" in shown


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--fold", 0), "--splits and --fold together"),
        (("--splits", "SPLITS", "--fold", "all"), "holds out no case"),
        (("--out", "table.csv"), ".json"),
    ],
)
def test_faithfulness_refuses_before_it_computes(run, data, model, tmp_path, flags, said):
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"folds": [["simulated_1"], ["simulated_2"]]}))
    given = [splits if flag == "SPLITS" else flag for flag in flags]
    code, answer = run("faithfulness", "--data", data, "--model", model, "--out", tmp_path / "table.json", *given)
    assert code == 2
    assert said in answer["error"]
    assert not (tmp_path / "table.json").exists()


# -- prune ---------------------------------------------------------------------------------------------------------


def test_prune_writes_a_smaller_model(run, data, tmp_path):
    config = replace(SMALL, prototypes_per_class=(2, 1, 1, 1))
    path, smaller = tmp_path / "model.safetensors", tmp_path / "smaller.safetensors"
    weights.save_model(path, ProtoSegNet(config), weights.ModelCard("tiny", config))
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"folds": [["simulated_1"], ["simulated_2"]]}))
    flags = ("prune", "--model", path, "--data", data, "--out", smaller)
    folds = ("--splits", splits, "--fold", "1")
    code, answer = run(*flags, "--disable", "0", *folds)
    assert code == 0, answer
    assert answer["prototypes"] == {"background": 1, "NCR": 1, "ED": 1, "ET": 1}
    assert set(answer["held_out_dice"]["after"]) == {"WT", "TC", "ET"}
    _, card = weights.load_model(smaller)
    assert card.training["pruning"][0]["last_layer_fitted_on"] == ["simulated_1"]
    assert "is there already" in run(*flags, "--disable", "0", *folds)[1]["error"]
    smaller.unlink()
    smaller.with_suffix(".json").unlink()
    assert "every prototype of ET" in run(*flags, "--disable", "4", *folds)[1]["error"]
    assert "lists no training cases" in run(*flags, "--disable", "0")[1]["error"]
    assert not smaller.exists()
