"""Brain tumour segmentation by prototypes.

    from ProtoSegBrainLib import read_case, predict, explain, whatif

    prediction = predict(read_case("patients/patient_001"))
    explain(prediction, (-20.5, 31.0, 12.0))

The way of the data through the packages, from the scan to the commands; each imports from those above it alone, and its
docstring is the map of its files. For all of them:

labels        names of modalities, classes and regions; label conventions of the public data sets
files         files that are whole or not there; output folders; locks
errors        which errors a person can mend, and what to say of any
progress      how far a long piece of work is
records       dataclasses from the plain values of JSON and YAML, strictly

images        files of scans -> a case on one grid -> what the network sees
simulation    a head that is no patient, as a case or as a raw study
network       images -> similarities to the prototypes -> logits; the weights and their card
patches       labelled cases -> random patches to learn from
result        tumour probabilities -> label map, how sure, how like the training cases, where the tumour lies
explanation   why: contributions of prototypes, results without some of them, and whether that is the reason
dicom         series of a scanner -> images; result -> DICOM objects
preparation   a raw study -> aligned images, a brain mask, a case
correction    result and a person's points -> corrected result, training case
followup      results of one patient at several dates -> what changed
pictures      result and explanation -> report, cards, figures
training      patches -> a network whose prototypes are patches of real cases
checking      a folder of cases -> what is wrong with it
segmentation  all of the way: one case, a folder of them, or at the request of another program
evaluation    predictions -> scores, calibration, comparison of networks
sharing       a network -> ONNX, TorchScript, a MONAI bundle
commands      the command line
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ProtoSegBrainLib.correction.points import Point
    from ProtoSegBrainLib.correction.teach import TeachConfig, teach
    from ProtoSegBrainLib.dicom.study import StudyChoice
    from ProtoSegBrainLib.evaluation.evaluate import evaluate
    from ProtoSegBrainLib.explanation.explain import explain
    from ProtoSegBrainLib.explanation.findings import findings
    from ProtoSegBrainLib.explanation.whatif import whatif
    from ProtoSegBrainLib.followup.follow import FollowConfig, FollowUp, follow
    from ProtoSegBrainLib.followup.visit import Visit
    from ProtoSegBrainLib.images.case import Case, case_from_volumes, read_case, read_case_files
    from ProtoSegBrainLib.images.folders import CaseFiles, list_cases
    from ProtoSegBrainLib.images.formats import read_volume, write_volume
    from ProtoSegBrainLib.images.study import Reading, Study
    from ProtoSegBrainLib.images.volume import Volume
    from ProtoSegBrainLib.network.weights import load_model
    from ProtoSegBrainLib.pictures.report import write_report
    from ProtoSegBrainLib.preparation.prepare import PreparationConfig, prepare_study
    from ProtoSegBrainLib.preparation.study import read_study
    from ProtoSegBrainLib.result.prediction import Prediction
    from ProtoSegBrainLib.result.prediction_files import read_prediction, write_prediction
    from ProtoSegBrainLib.segmentation.folder import segment_folder
    from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict
    from ProtoSegBrainLib.simulation.simulate import simulate_case
    from ProtoSegBrainLib.training.train import train

_HOME = {
    "Case": "images.case",
    "CaseFiles": "images.folders",
    "FollowConfig": "followup.follow",
    "FollowUp": "followup.follow",
    "Point": "correction.points",
    "Prediction": "result.prediction",
    "PredictConfig": "segmentation.predict",
    "PreparationConfig": "preparation.prepare",
    "Reading": "images.study",
    "Study": "images.study",
    "StudyChoice": "dicom.study",
    "TeachConfig": "correction.teach",
    "Visit": "followup.visit",
    "Volume": "images.volume",
    "case_from_volumes": "images.case",
    "evaluate": "evaluation.evaluate",
    "explain": "explanation.explain",
    "findings": "explanation.findings",
    "follow": "followup.follow",
    "list_cases": "images.folders",
    "load_model": "network.weights",
    "predict": "segmentation.predict",
    "prepare_study": "preparation.prepare",
    "read_case": "images.case",
    "read_case_files": "images.case",
    "read_prediction": "result.prediction_files",
    "read_study": "preparation.study",
    "read_volume": "images.formats",
    "segment_folder": "segmentation.folder",
    "simulate_case": "simulation.simulate",
    "teach": "correction.teach",
    "train": "training.train",
    "whatif": "explanation.whatif",
    "write_prediction": "result.prediction_files",
    "write_report": "pictures.report",
    "write_volume": "images.formats",
}

__all__ = [
    "Case",
    "CaseFiles",
    "FollowConfig",
    "FollowUp",
    "Point",
    "Prediction",
    "PredictConfig",
    "PreparationConfig",
    "Reading",
    "Study",
    "StudyChoice",
    "TeachConfig",
    "Visit",
    "Volume",
    "case_from_volumes",
    "evaluate",
    "explain",
    "findings",
    "follow",
    "list_cases",
    "load_model",
    "predict",
    "prepare_study",
    "read_case",
    "read_case_files",
    "read_prediction",
    "read_study",
    "read_volume",
    "segment_folder",
    "simulate_case",
    "teach",
    "train",
    "whatif",
    "write_prediction",
    "write_report",
    "write_volume",
]


def __getattr__(name: str) -> Any:
    """A public name, loaded when first asked for (PEP 562): importing the library loads no torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
