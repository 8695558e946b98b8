import re
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pointed_case
import pytest
from by_hand import prediction_for, without_prototypes

from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import teach
from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.pictures import report
from ProtoSegBrainLib.pictures.page import FOLDER
from ProtoSegBrainLib.pictures.report import write_report


def page(case, prediction, tmp_path):
    """The report without its scripts."""
    text = write_report(case, prediction, tmp_path / "report.html").read_text(encoding="utf-8")
    return re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def elements(path):
    """How many elements a page has, by tag."""
    found = Counter()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: found.update([tag])
    parser.feed(path.read_text(encoding="utf-8"))
    return found


def test_one_file_that_needs_no_other(case, prediction, tmp_path):
    shown = page(case, prediction, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', shown)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in shown
    assert "Plotly.newPlot(" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_library_that_draws_surfaces_is_named_with_its_version_and_licence():
    head = (FOLDER / "plotly-gl3d.min.js").read_text(encoding="utf-8")[:300]
    version = re.search(r"plotly\.js \(gl3d - minified\) v([\d.]+)", head).group(1)
    assert "MIT license" in head
    assert f"plotly.js-gl3d-dist-min {version}, MIT" in (FOLDER / "report.html").read_text(encoding="utf-8")
    assert (FOLDER / "plotly-gl3d.LICENSE.txt").read_text(encoding="utf-8").startswith("MIT License")


def test_numbers_are_those_of_the_prediction(case, prediction, tmp_path):
    said = prediction.findings
    said["regions"]["WT"].update(interval_ml=[41.23, 52.0], coverage=0.9, predicted_dice=0.876)
    shown = page(case, prediction, tmp_path)
    for name in ("WT", "TC", "ET", "ED", "NCR"):
        assert f"{prediction.volumes_ml[name]:.1f} ml" in shown
    assert "90% interval" in shown
    assert "41.2 to 52.0 ml" in shown
    assert "0.88" in shown
    diameters = said["enhancing_diameters_mm"]
    assert f"{diameters['longest']:.0f} × {diameters['perpendicular']:.0f} mm" in shown
    assert said["location"]["sentence"] in shown
    assert said["out_of_distribution"]["sentence"] in unescape(shown)
    share = said["prototypes"]["ET"][0]["share"]
    assert f"{share:.0%}" in shown
    assert "from training case training_3" in shown


def test_three_planes_of_three_modalities_and_four_maps(case, prediction, tmp_path):
    shown = page(case, prediction, tmp_path)
    assert shown.count('<svg class="slice"') == 13
    assert shown.count('class="grey"') == 13
    assert shown.count('class="heat"') == 4
    assert shown.count('class="outline"') == 9
    assert shown.count('class="diameter"') == 2
    for words in ("Axial FLAIR, whole tumour", "Coronal T2, tumour core", "Sagittal T1ce, enhancing tumour"):
        assert words in shown
    assert "4.6 the same" in shown  # log(1 / epsilon): a fixed scale
    assert "left: 10.9%" in shown  # the median of the training voxels, .5 of 4.6


def test_a_map_of_disagreement_is_shown_where_there_is_one(case, prediction, tmp_path):
    apart = replace(prediction, disagreement=np.zeros(prediction.label.shape, np.float32))
    shown = page(case, apart, tmp_path)
    assert shown.count('class="heat"') == 5
    assert "0.5 or more" in shown


def test_a_case_without_tumour_has_a_report(case, prediction, tmp_path):
    maps = np.zeros_like(prediction.similarities)
    maps[0] = 4
    brain = prediction.probabilities[0] < 1
    shown = page(case, prediction_for(maps, prediction.evidence, prediction.affine, brain), tmp_path)
    assert "No tumour was found." in shown
    assert "No enhancing tumour." in shown
    assert shown.count('<svg class="slice"') == 13
    assert 'class="outline"' not in shown


@pytest.mark.parametrize("evil", ["x<script>alert(1)</script>", '<b>x</b> & "y"'])
def test_text_from_outside_is_text(case, prediction, tmp_path, evil):
    plain = elements(write_report(case, prediction, tmp_path / "plain.html"))
    warned = replace(prediction, case_id=evil, warnings=(evil,), device=evil, model={**prediction.model, "name": evil})
    told = replace(warned, findings=deepcopy(prediction.findings))
    told.findings["location"]["sentence"] = evil
    told.findings["out_of_distribution"]["sentence"] = evil
    told.findings["prototypes"]["WT"][0].update(name=evil, case_id=evil)
    path = write_report(case, told, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert evil not in text
    assert unescape(text).count(evil) == 11  # title, heading, footer; model, also in the footer; and once each
    assert elements(path) == plain + Counter({"div": 1, "p": 1})  # those of the warning


def test_simulated_cases_and_unlike_scans_are_marked(case, prediction, tmp_path):
    assert "SIMULATED" not in page(case, prediction, tmp_path)
    prediction.findings["out_of_distribution"].update(flag=True, sentence="This scan is unlike the training data.")
    shown = page(case, replace(prediction, case_id="simulated_1"), tmp_path)
    assert "SIMULATED, NO PATIENT" in shown
    assert re.search(r'class="notice"[^>]*><p>This scan is unlike', shown)
    assert "research use only" in shown


def test_another_cases_result_is_refused(case, prediction, tmp_path):
    other = replace(case, images=case.images[:, 1:])
    with pytest.raises(ValueError, match=r"different grids; give the case that was segmented"):
        write_report(other, prediction, tmp_path / "report.html")
    with pytest.raises(ValueError, match="different grids"):
        write_report(replace(case, affine=2 * case.affine), prediction, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_an_earlier_report_survives_a_failure(case, prediction, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("earlier")

    def fail(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(report.os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_report(case, prediction, path)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "earlier"


def test_without_prototypes_it_shows_probabilities_and_says_so(case, prediction, tmp_path):
    shown = page(case, without_prototypes(prediction), tmp_path)
    assert "This model (mute) has no prototypes, so it cannot say why." in shown
    assert "<h2>How sure</h2>" in shown
    assert shown.count('class="heat"') == 4
    for name in ("NCR", "ED", "ET"):
        assert f"Probability of {name}" in shown
    for word in ("Similarity", "similarity", "by prototypes", "share of the evidence"):
        assert word not in shown


def test_of_a_model_that_finds_the_whole_tumour_only_nothing_else_is_said(case, prediction, tmp_path):
    whole = replace(prediction, label=(prediction.label > 0).astype(np.uint8) * 2)
    shown = page(case, without_prototypes(whole, regions=("WT",)), tmp_path)
    assert shown.count('class="outline"') == 3
    assert shown.count('class="heat"') == 2
    assert "does not tell enhancing tumour apart" in shown
    for word in ("No enhancing tumour.", "Tumour core", "Core =", "Probability of ET"):
        assert word not in shown


def test_a_persons_points_stand_among_the_prototypes_that_decided(tmp_path):
    """They have no card: what is known of training patches is not known of them."""
    before = pointed_case.prediction()
    cards = tuple(
        Prototype(n, name, f"training_{n}", (0, 0, 0), 2.0, {"t1c": 2.0}, 0.0, purity=0.9, explained_share=0.5)
        for n, name in enumerate(pointed_case.OWNERS)
    )
    before = replace(before, evidence=replace(before.evidence, prototypes=cards))
    points = [Point(pointed_case.place(before, 4, 9, 4), "ED")]
    after = teach(before, pointed_case.embedding(before), points)
    shown = page(pointed_case.case(after), replace(after, findings=findings(after)), tmp_path)
    assert "your point 1" in shown
    assert "placed by a person in this scan" in shown
    assert "Corrected by a person: 1 point" in shown
