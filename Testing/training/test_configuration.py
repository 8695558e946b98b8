"""Every named network is read, and printed as it is read; what is wrong in a file is named, with the file."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from ProtoSegBrainLib.network.model import ModelConfig
from ProtoSegBrainLib.network.networks import build_network
from ProtoSegBrainLib.training.configuration import described, load_config, network_names, to_yaml
from ProtoSegBrainLib.training.losses import SEGMENTATION_TERMS, LossConfig
from ProtoSegBrainLib.training.recipe import TrainConfig

NETWORKS = ("default", "neuroseg", "no_prototypes", "resunet", "seed", "segresnet", "thorough", "unet")
PEERS = ("neuroseg", "resunet", "segresnet", "unet")


def written(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# -- the networks of this project --------------------------------------------------------------------------------------


def test_these_networks_have_names():
    assert network_names() == NETWORKS


def test_the_default_is_the_default():
    assert load_config("default") == TrainConfig()


def test_without_prototypes_nothing_else_differs():
    config = load_config("no_prototypes")
    assert config == replace(TrainConfig(), model=replace(ModelConfig(), prototypes_per_class=(0, 0, 0, 0)))


def test_thorough_is_the_default_network_with_larger_patches_and_stronger_changes_to_them():
    config, default = load_config("thorough"), TrainConfig()
    assert (config.model, config.loss) == (default.model, default.loss)
    assert config.sampling.patch_size > default.sampling.patch_size
    assert all(
        getattr(config.augmentation, f.name) >= getattr(default.augmentation, f.name)
        for f in fields(default.augmentation)
    )
    assert config.augmentation != default.augmentation


def test_the_seed_has_one_prototype_per_tumour_class_at_an_eighth():
    model = load_config("seed").model
    assert (model.prototypes_per_class, model.prototype_stride, model.reach) == ((0, 1, 1, 1), 8, None)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_trains_as_its_document_says(name):
    config = load_config(name)
    assert config.model.architecture == name
    terms = {name for name in SEGMENTATION_TERMS if getattr(config.loss, name)}
    said = {
        "unet": ({"cross_entropy"}, "adam", 1e-3, "plateau", 1),
        "segresnet": ({"region_sigmoid_dice"}, "adam", 1e-4, "cosine", 1),
        "resunet": ({"region_dice"}, "adamw", 1e-4, "cosine", 32),
        "neuroseg": ({"dice", "cross_entropy"}, "adam", 1e-3, "cosine", 2),
    }
    patches = config.batch_size * config.accumulation
    assert (terms, config.optimiser, config.learning_rate, config.schedule, patches) == said[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_printed_reads_back_and_explains_every_value(tmp_path, name):
    config = load_config(name)
    text = described(name)
    assert load_config(written(tmp_path, text)) == config
    assert load_config(written(tmp_path, to_yaml(config))) == config
    assert text.startswith(f"# {name}: ")
    values = [line for line in text.splitlines() if re.match(r" *\w+: .", line)]
    assert len(values) > 40
    assert all("  # " in line for line in values)


@pytest.mark.parametrize(("name", "millions"), [("unet", 22.58), ("segresnet", 4.70)])
def test_a_peer_is_as_large_as_published(name, millions):
    network = build_network(load_config(name).model)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


# -- reading and writing -----------------------------------------------------------------------------------------------


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    path = written(tmp_path, "loss:\n  purity: 1e-3\nreseed_at: [0.5]\nmodel:\n  reach: null\n")
    config = load_config(path)
    assert config == replace(
        TrainConfig(),
        loss=LossConfig(purity=0.001),
        reseed_at=(0.5,),
        model=replace(ModelConfig(), reach=None),
    )


@pytest.mark.parametrize("text", ["", "# nothing\n", "loss:\n"])
def test_an_empty_file_or_section_is_the_default(tmp_path, text):
    assert load_config(written(tmp_path, text)) == TrainConfig()


@pytest.mark.parametrize(
    "name", ["no", "1e-4", "null", "a: b # c", "Gehirn – ö", "'quoted'", "[1, 2]", "~", "two\nlines"]
)
def test_any_text_survives(tmp_path, name):
    config = replace(TrainConfig(), name=name, trackers=("tensorboard", name))
    assert load_config(written(tmp_path, to_yaml(config))) == config


@pytest.mark.parametrize("number", [1e-12, 1e-4, 0.1 + 0.2, 3.0, 123456789.5])
def test_any_number_survives(tmp_path, number):
    config = replace(TrainConfig(), learning_rate=number, reseed_at=(number,))
    assert load_config(written(tmp_path, to_yaml(config))) == config


# -- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss:\n  dise: 1\n", r"mine\.yaml: loss\.dise: unknown key \(did you mean dice\?\)"),
        ("model:\n  norm: layer\n", r"mine\.yaml: model: norm must be one of"),
        ("optimiser: lion\n", r"mine\.yaml: optimiser: expected one of adam"),
        ("- 1\n- 2\n", r"mine\.yaml: the file: expected a section of keys and values; got \[1, 2\]"),
        ("steps: [1\n", r"mine\.yaml: expected YAML; .*line 2"),
        ("steps: 1\nloss: {l1: 1}\nsteps: 2\n", r"mine\.yaml: steps: given in line 1 and again in line 3"),
        ("loss:\n  dice: 1\n  dice: 2\n", r"mine\.yaml: loss\.dice: given in line 2 and again in line 3"),
        ("model: 3\n", r"mine\.yaml: model: expected a section of keys and values; got 3"),
        ("steps: " + "[" * 10000, r"mine\.yaml: expected YAML; it is nested too deeply"),
        ("name: 2020-99-99\n", r"mine\.yaml: expected YAML; month must be in 1\.\.12"),
        ("loss: &a {dice: *a}\n", r"mine\.yaml: loss\.dice: expected a number; got \{'dice': \{"),
        ("loss: !!python/object/apply:os.getcwd []\n", r"mine\.yaml: expected YAML; could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_config(written(tmp_path, text))


def test_sections_that_are_named_again_and_again_take_no_time(tmp_path):
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}" for n in range(1, 40))]
    with pytest.raises(ValueError, match=r"mine\.yaml: a0: unknown key"):
        load_config(written(tmp_path, "\n".join(lines)))


def test_a_file_of_bytes_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"mine\.yaml: expected YAML"):
        load_config(path)


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(
        ValueError, match=r"expected one of default, .*, or a \.yaml file; got 'segresent' .*segresnet\?"
    ):
        load_config("segresent")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
