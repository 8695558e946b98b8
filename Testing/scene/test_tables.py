"""Rows of the tables: the numbers of the library, in words a person reads."""

from dataclasses import replace

import numpy as np
import pytest
from mrml import a_context, a_prediction
from ProtoSegBrainScene.tables import (
    NONE,
    fillPrototypeTable,
    fillVolumeTable,
    prototypeRows,
    volumeRows,
    warningsOf,
)

from ProtoSegBrainLib.explanation.explain import region_shares
from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.explanation.names import prototype_name
from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.labels import CLASS_COLOURS
from ProtoSegBrainLib.network.evidence import Prototype

SAID = {
    "interval_ml": [1.25, 9.0],
    "coverage": 0.9,
    "predicted_dice": 0.8149,
    "foci": 2,
}


def test_volumes_with_interval_and_expected_dice():
    prediction = replace(a_prediction(), findings={"regions": dict.fromkeys(("WT", "TC", "ET"), SAID)})
    rows = volumeRows(prediction)
    assert [row.key for row in rows] == ["WT", "TC", "ET", "ED", "NCR"]
    assert [row.volumeMl for row in rows] == [prediction.volumes_ml[row.key] for row in rows]
    assert (rows[0].intervalMl, rows[0].coverage, rows[0].expectedDice, rows[0].foci) == ((1.25, 9.0), 0.9, 0.8149, 2)
    assert rows[0].texts == ("Whole tumour (WT)", f"{prediction.volumes_ml['WT']:.1f} ml", "1.2 to 9.0 ml", "0.81")
    assert rows[4].texts[2:] == (NONE, NONE)


def test_what_is_not_known_is_a_dash():
    rows = volumeRows(whatif(a_prediction(), disabled=[3]))
    assert all(row.texts[2:] == (NONE, NONE) for row in rows)
    prediction = a_prediction()
    own = replace(prediction, findings=findings(prediction))  # of a model that was never calibrated
    assert all(row.texts[2:] == (NONE, NONE) for row in volumeRows(own))


def test_that_a_scan_is_unfamiliar_comes_first():
    unlike = {"out_of_distribution": {"flag": True, "score": 9.0, "sentence": "Unlike all others."}}
    prediction = replace(a_prediction(), warnings=("Not skull-stripped.",), findings=unlike)
    assert warningsOf(prediction) == ["Unlike all others.", "Not skull-stripped."]
    unlike["out_of_distribution"]["flag"] = False
    assert warningsOf(prediction) == ["Not skull-stripped."]


def known_prediction():
    """Prototypes with names and a scale: similarities 0 to 4 are per cent 0 to 100."""
    prediction = a_prediction()
    scale = tuple(np.linspace(0, 4, 101))
    records = tuple(
        Prototype(index, name, "case", (0.0, 0.0, 0.0), 8.0, {"t1c": 1.5}, 0.0, scale)
        for index, name in enumerate(prediction.evidence.prototype_class)
    )
    return replace(prediction, evidence=replace(prediction.evidence, prototypes=records))


def test_prototypes_with_share_percentile_and_name():
    prediction = known_prediction()
    rows = {row.index: row for row in prototypeRows(prediction)}
    shares = region_shares(prediction, "WT")
    assert set(rows) == {0, 1, 2, 3}
    for index, row in rows.items():
        assert row.share == shares.get(index, 0.0)
        assert row.name == prototype_name(prediction.evidence.prototypes[index])
        assert row.isOn
    assert rows[3].colour == CLASS_COLOURS[3]
    assert rows[3].percentile == pytest.approx(50)  # its best match is 2.0
    assert rows[3].bestSimilarity == pytest.approx(2.0 / np.log(100))
    assert rows[1].percentile == 100
    assert rows[3].texts == ("3", "ET", rows[3].name, f"{shares[3]:.0%}", "50%")
    assert sum(row.share for row in rows.values()) == pytest.approx(1)


def test_the_largest_share_comes_first_and_one_that_is_off_is_marked():
    rows = prototypeRows(a_prediction())
    assert [row.share for row in rows] == sorted((row.share for row in rows), reverse=True)
    off = {row.index: row for row in prototypeRows(whatif(a_prediction(), disabled=[3]))}
    assert not off[3].isOn
    assert off[3].share == 0
    assert off[3].texts[4] == NONE  # nothing is known of these prototypes
    assert off[2].isOn


def texts_of(node):
    table = node.GetTable()
    columns = [table.GetColumn(n) for n in range(table.GetNumberOfColumns())]
    heads = tuple(column.GetName() for column in columns)
    rows = [tuple(column.GetValue(n) for column in columns) for n in range(table.GetNumberOfRows())]
    return heads, rows


def test_table_nodes_say_the_same():
    context = a_context()
    prediction = replace(known_prediction(), warnings=("Mind this.",))
    node = context.scene.AddNewNodeByClass("vtkMRMLTableNode")
    fillVolumeTable(node, prediction)
    heads, rows = texts_of(node)
    assert heads == ("Region", "Volume", "Interval", "Expected Dice")
    assert rows == [*(row.texts for row in volumeRows(prediction)), ("Mind this.", "", "", "")]
    fillPrototypeTable(node, prediction)
    assert texts_of(node)[1] == [row.texts for row in prototypeRows(prediction)]
