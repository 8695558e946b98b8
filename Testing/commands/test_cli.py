import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.commands.console import Answer
from ProtoSegBrainLib.commands.segmentation import COMMANDS
from ProtoSegBrainLib.images import simulate
from ProtoSegBrainLib.images.case import list_cases, read_case
from ProtoSegBrainLib.images.simulate import simulate_case, write_case
from ProtoSegBrainLib.network import weights
from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet
from ProtoSegBrainLib.patches.dataset import in_memory
from ProtoSegBrainLib.training.prototypes import project_prototypes

ROOT = Path(__file__).resolve().parents[2]
TINY = ModelConfig(
    widths=(4, 8),
    blocks=(1, 1),
    aspp_channels=8,
    aspp_rates=(1,),
    embedding_channels=4,
    prototypes_per_class=(1, 1, 1, 1),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save_model(path, ProtoSegNet(TINY), weights.ModelCard("tiny", TINY))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed in (1, 2):
        write_case(simulate_case(seed, shape=(40, 40, 32)), folder)
    return folder


@pytest.fixture
def run(capsys):
    """Runs a command with --json; returns exit code and the one object that stands on standard output."""

    def run_command(*arguments):
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run_command


# -- segment -------------------------------------------------------------------------------------------------------


def test_segment_writes_its_files_on_the_grid_of_the_input(run, data, model, tmp_path):
    code, answer = run("segment", "--case", data / "simulated_1", "--out", tmp_path / "out", "--model", model)
    assert code == 0
    assert {Path(path).name for path in answer["files"].values()} == {
        f"simulated_1_{ending}"
        for ending in ("seg.nii.gz", "prob.nii.gz", "sim.nii.gz", "unc.nii.gz", "prediction.json", "report.html")
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        Path(path).name for path in answer["files"].values()
    )
    label, image = nib.load(answer["files"]["seg"]), nib.load(data / "simulated_1" / "simulated_1_t1ce.nii.gz")
    assert label.shape == image.shape
    np.testing.assert_allclose(label.affine, image.affine)
    assert set(np.unique(label.get_fdata())) <= {0, 1, 2, 4}
    assert set(answer["volumes_ml"]) == {"NCR", "ED", "ET", "WT", "TC"}


def test_an_old_report_does_not_stay_beside_a_new_result(run, data, model, tmp_path):
    arguments = ("segment", "--case", data / "simulated_1", "--out", tmp_path, "--model", model)
    run(*arguments)
    report = tmp_path / "simulated_1_report.html"
    assert report.is_file()
    code, answer = run(*arguments, "--overwrite", "--no-report")
    assert code == 0
    assert "report" not in answer["files"]
    assert not report.exists()
    for file in tmp_path.iterdir():
        file.unlink()
    report.write_text("of another program")
    code, answer = run(*arguments)
    assert code == 2
    assert "simulated_1_report.html" in answer["error"]
    assert report.read_text() == "of another program"


def test_four_files_by_role_give_what_the_folder_gives(run, data, model, tmp_path):
    files = {name: data / "simulated_1" / f"simulated_1_{name}.nii.gz" for name in ("flair", "t1", "t1ce", "t2")}
    flags = [part for name, path in files.items() for part in (f"--{name}", path)]
    _, by_role = run("segment", *flags, "--out", tmp_path / "a", "--model", model)
    _, by_folder = run("segment", "--case", data / "simulated_1", "--out", tmp_path / "b", "--model", model)
    assert by_role["volumes_ml"] == by_folder["volumes_ml"]


def test_labels_choose_the_coding(run, data, model, tmp_path):
    case = ("--case", data / "simulated_1", "--model", model)
    values = {}
    for coding in ("brats2020", "brats2023"):
        _, answer = run("segment", *case, "--out", tmp_path / coding, "--labels", coding)
        values[coding] = np.asarray(nib.load(answer["files"]["seg"]).dataobj)
    assert np.array_equal(values["brats2020"] == 4, values["brats2023"] == 3)


def test_text_goes_to_standard_output_and_progress_to_standard_error(capfd, data, model, tmp_path):
    case = ["--case", str(data / "simulated_1"), "--out", str(tmp_path / "out"), "--model", str(model)]
    assert main(["segment", *case]) == 0
    shown = capfd.readouterr()
    assert "WT" in shown.out
    assert "100%" in shown.err
    assert "%|" not in shown.out


# -- portray and cards ---------------------------------------------------------------------------------------------


@pytest.fixture
def projected(data, tmp_path):
    """A model whose prototypes are patches of the two cases, not yet portrayed; these are too small for pure ET."""
    config = replace(TINY, prototypes_per_class=(1, 0, 2, 0))
    network = ProtoSegNet(config)
    cases = [in_memory(read_case(folder)) for _, folder in list_cases(data)]
    prototypes = project_prototypes(network, cases)
    training = {"cases": [case.case_id for case in cases]}
    path = tmp_path / "projected.safetensors"
    weights.save_model(path, network, weights.ModelCard("tiny", config, prototypes, training=training))
    return path


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
        return simulate_case(seed, (40, 40, 32), config)

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


# -- bad input: exit code 2, one sentence, nothing written ---------------------------------------------------------


def bad_inputs(data, model, tmp_path):
    case = data / "simulated_1"
    incomplete = tmp_path / "incomplete"
    incomplete.mkdir()
    (incomplete / "x_flair.nii.gz").write_bytes((case / "simulated_1_flair.nii.gz").read_bytes())
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"not weights")
    return {
        "no case": (["--case", tmp_path / "nowhere", "--model", model], "nowhere"),
        "modality missing": (["--case", incomplete, "--model", model], "T1"),
        "neither case nor files": (["--model", model], "--case"),
        "case and files": (["--case", case, "--t1", case / "x.nii.gz", "--model", model], "--case"),
        "three of four files": (["--flair", case, "--t1", case, "--t1ce", case, "--model", model], "--t2"),
        "weights without a card": (["--case", case, "--model", foreign], "foreign"),
        "no weights": (["--case", case, "--model", tmp_path / "gone.safetensors"], "gone"),
        "one role twice": (
            ["--flair", "a", "--t1", "b", "--t1ce", "c", "--t2", "d", "--t2", "e"],
            "one file, got d and e",
        ),
        "no such device": (["--case", case, "--model", model, "--device", "abacus"], "abacus"),
        "no such coding": (["--case", case, "--model", model, "--labels", "brats1999"], "brats1999"),
        "unknown flag": (["--case", case, "--model", model, "--frobnicate"], "--frobnicate"),
        "not a number": (["--case", case, "--model", model, "--tile", "big"], "big"),
    }


BAD_INPUTS = (
    *("no case", "modality missing", "neither case nor files", "case and files", "three of four files"),
    "one role twice",
    *("weights without a card", "no weights", "no such device", "no such coding", "unknown flag", "not a number"),
)


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_told_and_leaves_no_files(name, run, capsys, data, model, tmp_path):
    arguments, said = bad_inputs(data, model, tmp_path)[name]
    code, answer = run("segment", *arguments, "--out", tmp_path / "out")
    assert code == 2
    assert list(answer) == ["error"]
    assert said in answer["error"]
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_earlier_results_are_kept_unless_overwrite_is_said(run, data, model, tmp_path):
    arguments = ("segment", "--case", data / "simulated_1", "--out", tmp_path, "--model", model)
    assert run(*arguments)[0] == 0
    before = (tmp_path / "simulated_1_prediction.json").read_bytes()
    code, answer = run(*arguments)
    assert code == 2
    assert "--overwrite" in answer["error"]
    assert (tmp_path / "simulated_1_prediction.json").read_bytes() == before
    assert run(*arguments, "--overwrite")[0] == 0


def test_the_experts_label_is_not_overwritten_by_a_result_of_its_name(run, data, model, tmp_path):
    case = tmp_path / "simulated_1"
    shutil.copytree(data / "simulated_1", case)
    before = (case / "simulated_1_seg.nii.gz").read_bytes()
    code, answer = run("segment", "--case", case, "--out", case, "--model", model, "--overwrite")
    assert code == 2
    assert "simulated_1_seg.nii.gz is a file of case simulated_1 itself" in answer["error"]
    assert (case / "simulated_1_seg.nii.gz").read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["segment"], ["train", "--data", "x"], ["simulate", "--out"]])
def test_wrong_flags_are_bad_input(arguments, run):
    code, answer = run(*arguments)
    assert (code, list(answer)) == (2, ["error"])


def test_anything_else_is_exit_code_1(run, monkeypatch, tmp_path):
    def fail(options):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setitem(COMMANDS, "simulate", COMMANDS["simulate"]._replace(run=fail))
    code, answer = run("simulate", "--out", tmp_path)
    assert code == 1
    assert answer["error"] == "RuntimeError: the disk is on fire"


def test_what_a_library_prints_does_not_spoil_the_answer(run, monkeypatch, tmp_path):
    def chat(options):
        sys.stdout.write("hello")
        logging.getLogger("chatty").warning("hello")
        return Answer({"nan": float("nan"), "path": tmp_path, "number": np.float32(0.5)})

    monkeypatch.setitem(COMMANDS, "simulate", COMMANDS["simulate"]._replace(run=chat))
    assert run("simulate", "--out", tmp_path) == (0, {"nan": None, "path": str(tmp_path), "number": 0.5})


# -- the other commands --------------------------------------------------------------------------------------------


def test_info_shows_the_card(run, model):
    code, answer = run("info", "--model", model)
    assert code == 0
    assert answer["name"] == "tiny"
    assert answer["model"]["prototypes_per_class"] == [1, 1, 1, 1]


def test_simulate_writes_a_case_once(run, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "ProtoSegBrainLib.images.simulate.simulate_case", lambda seed: simulate_case(seed, (32, 32, 24))
    )
    code, answer = run("simulate", "--out", tmp_path, "--seed", 7)
    assert code == 0
    assert answer == {"case_id": "simulated_7", "folder": str(tmp_path / "simulated_7"), "simulated": True}
    assert len(list((tmp_path / "simulated_7").glob("*.nii.gz"))) == 5
    assert run("simulate", "--out", tmp_path, "--seed", 7)[0] == 2


def test_demo_segments_a_simulated_case_and_can_be_repeated(run, model, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "BUNDLED", model)
    monkeypatch.setattr(
        "ProtoSegBrainLib.images.simulate.simulate_case", lambda seed: simulate_case(seed, (40, 40, 32))
    )
    for _ in range(2):
        code, answer = run("demo", "--out", tmp_path)
        assert code == 0
        assert answer["simulated"] is True
        assert set(answer["dice"]) == {"WT", "TC", "ET"}
        assert all(Path(path).is_file() for path in answer["files"].values())
        assert Path(answer["files"]["picture"]).read_bytes().startswith(b"\x89PNG")


def test_segment_then_evaluate(run, data, model, tmp_path):
    for case in ("simulated_1", "simulated_2"):
        run("segment", "--case", data / case, "--out", tmp_path / "predictions", "--model", model)
    code, answer = run(
        "evaluate", "--data", data, "--predictions", tmp_path / "predictions", "--out", tmp_path / "s.csv"
    )
    assert code == 0, answer
    assert (tmp_path / "s.csv").read_text().count("simulated_1") >= 1


@pytest.fixture(scope="module")
def result(data, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    assert main(["segment", "--case", str(data / "simulated_1"), "--out", str(folder), "--model", str(model)]) == 0
    return folder


def test_explain_at_a_place_and_at_a_voxel(run, result, capsys):
    affine = nib.load(result / "simulated_1_seg.nii.gz").affine
    at = ",".join(f"{value:.3f}" for value in (affine @ [20, 17, 15, 1])[:3])
    assert at.startswith("-"), "this test is also about the sign"
    code, answer = run("explain", "--prediction", result, "--at", at)
    assert code == 0, answer
    assert run("explain", "--prediction", result, f"--at={at}")[1] == answer
    by_voxel = run("explain", "--prediction", result, "--voxel", "20,17,15", "--case-id", "simulated_1")[1]
    assert by_voxel["class"] == answer["class"]
    for name, logit in answer["logits"].items():
        parts = [entry["contribution"] for entry in answer["contributions"] if entry["class"] == name]
        assert answer["bias"][name] + sum(parts) == pytest.approx(logit, abs=1e-5)
        assert by_voxel["logits"][name] == pytest.approx(logit, abs=0.01)
    main(["explain", "--prediction", str(result), "--at", at])
    assert "contribution = weight x similarity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--at", "-999,0,0"], "outside the image"),
        (["--at", "-1,2"], "three numbers such as -12.5,30,4"),
        (["--voxel", "0,0,99"], "has no voxel 0, 0, 99"),
        (["--voxel", "1,2,3.5"], "three numbers such as 120,88,70"),
        ([], "--at --voxel"),
    ],
)
def test_a_place_that_cannot_be_explained_is_told(run, result, flags, said):
    code, answer = run("explain", "--prediction", result, *flags)
    assert code == 2
    assert said in answer["error"]


def test_whatif_writes_a_changed_result_elsewhere(run, result, tmp_path):
    before = {path.name: path.read_bytes() for path in result.iterdir()}
    flags = ("--prediction", result, "--disable", "1,2", "--weight", "3=0.5")
    code, answer = run("whatif", *flags, "--out", tmp_path, "--labels", "brats2023")
    assert code == 0, answer
    assert "prototype 3 (ET) counts 0.5 times" in answer["warnings"][-1]
    assert (answer["volumes_ml"]["NCR"], answer["volumes_ml"]["ED"]) == (0, 0)
    assert all(Path(path).is_file() for path in answer["files"].values())
    code, answer = run("whatif", *flags, "--out", tmp_path)
    assert (code, "--overwrite" in answer["error"]) == (2, True)
    assert run("whatif", *flags, "--out", tmp_path, "--overwrite")[0] == 0
    code, answer = run("whatif", *flags, "--out", result, "--overwrite")
    assert (code, "another output folder" in answer["error"]) == (2, True)
    assert {path.name: path.read_bytes() for path in result.iterdir()} == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--disable", "4"], "0 to 3; got 4"),
        (["--disable", "x"], "such as 3,7"),
        (["--weight", "3"], "such as 4=0.5"),
        (["--weight", "3=-1"], "at least 0"),
        ([], "--disable 3,7"),
    ],
)
def test_a_whatif_that_cannot_be_done_is_told(run, result, tmp_path, flags, said):
    code, answer = run("whatif", "--prediction", result, *flags, "--out", tmp_path / "out")
    assert code == 2
    assert said in answer["error"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("simulate",),
        ("demo",),
        ("cards", "--simulated"),
        ("prune", "--disable", "1", "--data", "nowhere"),
    ],
    ids=lambda flags: flags[0],
)
def test_a_file_where_the_folder_should_be_is_refused_at_once(flags, run, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "a.safetensors" if flags[0] == "prune" else tmp_path / "file"
    code, answer = run(*flags, "--out", out)
    assert code == 2
    assert answer["error"].endswith("file is a file; name a folder.")


def test_cards_that_are_there_are_refused_before_the_work(run, projected, tmp_path, monkeypatch):
    (tmp_path / "cards.html").touch()
    monkeypatch.setattr(simulate, "simulate_case", lambda *_, **__: pytest.fail("worked in vain"))
    assert run("cards", "--out", tmp_path, "--model", projected, "--simulated")[0] == 2


def test_prune_writes_a_smaller_model(run, data, tmp_path):
    config = replace(TINY, prototypes_per_class=(2, 1, 1, 1))
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


def test_train_passes_preset_and_flags_on(run, monkeypatch, tmp_path):
    from ProtoSegBrainLib.training import train as training

    seen = {}

    def fake_train(config, data, splits, fold, out, *, resume, on_progress):
        seen.update(config=config, fold=fold, resume=resume)
        on_progress(0.5, "half")
        return {"steps": 3}

    monkeypatch.setattr(training, "train", fake_train)
    arguments = ["--data", tmp_path, "--splits", tmp_path / "s.json", "--fold", "all", "--out", tmp_path]
    changes = ["--preset", "seed", "--minutes", "2.5", "--loss-dice", "0.3", "--model-prototype-size", "3", "--resume"]
    code, answer = run("train", *arguments, *changes)
    assert (code, answer["steps"]) == (0, 3)
    assert (seen["fold"], seen["resume"], seen["config"].minutes, seen["config"].loss.dice) == ("all", True, 2.5, 0.3)
    assert seen["config"].model.widths == (64, 128, 256, 512)
    assert seen["config"].model.prototype_size == 3


def test_train_takes_another_network_with_its_own_training(run, monkeypatch, tmp_path):
    from ProtoSegBrainLib.training import train as training

    seen = {}
    monkeypatch.setattr(training, "train", lambda config, *_, **__: seen.update(config=config) or {})
    where = ["--data", tmp_path, "--splits", tmp_path / "s.json", "--fold", "3", "--out", tmp_path]
    assert run("train", *where, "--network", "segresnet", "--minutes", "2")[0] == 0
    config = seen["config"]
    assert (config.model.architecture, config.minutes, config.name) == ("segresnet", 2, "segresnet-fold-3")
    assert (config.loss.region_sigmoid_dice, config.loss.region_dice) == (1, 0)
    code, answer = run("train", *where, "--network", "segresnet", "--model-norm", "batch")
    assert code == 2
    assert "--model-" in answer["error"]
    code, answer = run("train", *where, "--network", "segresnett")
    assert code == 2
    assert "segresnet" in answer["error"]


def test_info_prints_a_network_as_a_file_that_train_takes(capsys, tmp_path):
    from ProtoSegBrainLib.training.configuration import load_config

    assert main(["info", "--network", "resunet"]) == 0
    mine = tmp_path / "mine.yaml"
    mine.write_text(capsys.readouterr().out)
    assert load_config(mine) == load_config("resunet")


def test_train_refuses_data_that_is_not_there(run, tmp_path):
    where = ["--data", tmp_path / "gone", "--splits", tmp_path / "gone.json", "--fold", "0", "--out", tmp_path / "run"]
    code, answer = run("train", *where)
    assert code == 2
    assert "gone" in answer["error"]


# -- as a process --------------------------------------------------------------------------------------------------


def test_the_module_runs_as_a_program_and_help_does_not_load_torch():
    command = [sys.executable, "-X", "importtime", "-m", "ProtoSegBrainLib"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)
    assert "torch" not in done.stderr
    done = subprocess.run(
        [*command[:1], "-m", "ProtoSegBrainLib"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out
