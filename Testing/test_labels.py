"""The tables of names: complete, unambiguous, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ProtoSegBrainLib import labels


def test_label_conventions_are_those_of_the_published_data_sets():
    names = {
        convention: {value: labels.CLASSES[index] for value, index in table.items()}
        for convention, table in labels.LABEL_CONVENTIONS.items()
    }
    assert names == {
        "brats2020": {0: "background", 1: "NCR", 2: "ED", 4: "ET"},
        "brats2023": {0: "background", 1: "NCR", 2: "ED", 3: "ET"},
        "brats2024": {0: "background", 1: "NCR", 2: "ED", 3: "ET", 4: "background"},
        "msd": {0: "background", 1: "ED", 2: "NCR", 3: "ET"},
        "nnunet": {0: "background", 1: "ED", 2: "NCR", 3: "ET"},
        "peds": {0: "background", 1: "ET", 2: "NCR", 3: "NCR", 4: "ED"},
    }


def test_regions_are_made_of_the_classes_their_names_say():
    named = {region: {labels.CLASSES[c] for c in classes} for region, classes in labels.REGIONS.items()}
    assert named == {"WT": {"NCR", "ED", "ET"}, "TC": {"NCR", "ET"}, "ET": {"ET"}}


def test_every_modality_has_a_name_and_a_channel():
    assert tuple(labels.MODALITY_NAMES) == labels.MODALITIES
    assert sorted(labels.MSD_CHANNELS) == sorted(labels.NNUNET_CHANNELS) == sorted(labels.MODALITIES)


def test_no_word_of_names_stands_for_two_sequences_or_twice_in_a_row():
    rows = {meaning: words.split() for meaning, words in labels.WORDS.items()}
    sequences = [
        word for meaning in ("t1", "t1n", "t1c", "t2", "flair", "kind of t1", "other") for word in rows[meaning]
    ]
    assert len(sequences) == len({*sequences})
    for words in rows.values():
        assert len(words) == len({*words})
        assert all(word == word.lower() and word.isalnum() for word in words)


def test_each_class_has_its_own_colour():
    assert len(set(labels.CLASS_COLOURS)) == len(labels.CLASSES)


def test_names_images_and_cases_load_without_torch():
    code = (
        "import sys, ProtoSegBrainLib, ProtoSegBrainLib.labels; assert 'numpy' not in sys.modules;"
        "import ProtoSegBrainLib.images.case; assert not {'torch', 'monai', 'SimpleITK'} & set(sys.modules)"
    )
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=120)


def test_names_are_listed_as_in_a_sentence():
    assert [labels.listed(names) for names in (("T1", "T2", "FLAIR"), ["T1"], ())] == ["T1, T2 and FLAIR", "T1", ""]
