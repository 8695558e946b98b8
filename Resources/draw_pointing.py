"""Draws pointing.png, the picture of what a click does in docs/correction.md: ``python Resources/draw_pointing.py``.

A simulated case of which the bundled model takes oedema for core is corrected by a click.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "benchmarks")]

from pointing import click  # noqa: E402

from ProtoSegBrainLib.correction.embedding import embedding_of  # noqa: E402
from ProtoSegBrainLib.correction.teach import teach  # noqa: E402
from ProtoSegBrainLib.images.volume import Volume, resample  # noqa: E402
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, REGIONS  # noqa: E402
from ProtoSegBrainLib.result.metrics import dice  # noqa: E402
from ProtoSegBrainLib.segmentation.predict import predict  # noqa: E402
from ProtoSegBrainLib.simulation.simulate import simulate_case  # noqa: E402

SEED = 13
INK, GROUND = "#e8e8e8", "#101418"


def main() -> None:
    """Segment, click, draw."""
    case = simulate_case(SEED)
    before = predict(case)
    point = click(before.label, case.label, case.brain, case.affine)
    after = teach(before, embedding_of(case), [point])
    place = np.rint(np.linalg.inv(case.affine) @ [*point.position_ras_mm, 1]).astype(int)[:3]
    figure, panels = plt.subplots(1, 4, figsize=(14, 4.3), facecolor=GROUND)
    brain = np.argwhere(case.brain[:, :, place[2]])
    box = tuple(slice(low, high + 1) for low, high in zip(brain.min(axis=0), brain.max(axis=0), strict=True))
    image = case.images[MODALITIES.index("t2f")][:, :, place[2]][box]
    show(panels[0], image, before.label[:, :, place[2]][box], f"the model's own: {scores(before.label, case.label)}")
    show(panels[1], image, after.label[:, :, place[2]][box], f"after one click: {scores(after.label, case.label)}")
    show(panels[2], image, case.label[:, :, place[2]][box], "what is true")
    show(panels[3], image, None, "similarity to your point 1")
    found = Volume(after.similarities[after.evidence.n_learned], after.similarity_affine)
    similarity = resample(found, case.images.shape[1:], case.affine, order=1).array[:, :, place[2]][box]
    panels[3].imshow(np.ma.masked_less(similarity, 0.02).T, origin="lower", cmap="inferno", alpha=0.75)
    for panel in (panels[1], panels[3]):
        mark(panel, place[0] - box[0].start, place[1] - box[1].start, point.class_name)
    for panel in panels:
        panel.invert_xaxis()
    for index, name in enumerate(CLASSES[1:], start=1):
        figure.text(0.6 + 0.06 * index, 0.04, f"— {name}", color=colour(index), fontsize=11)
    figure.text(0.02, 0.04, "SIMULATED CASE, no patient   |   FLAIR   |   research use only", color=INK, fontsize=10)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.1, wspace=0.03)
    figure.savefig(HERE / "pointing.png", dpi=80, facecolor=GROUND)


def show(panel: plt.Axes, image: np.ndarray, label: np.ndarray | None, title: str) -> None:
    """A slice with outlines; the axes of a simulated case are RAS, the patient's right is shown on the left."""
    low, high = np.percentile(image[image != 0], (1, 99.5))
    panel.imshow(image.T, origin="lower", cmap="gray", vmin=low, vmax=high)
    for index in map(CLASSES.index, ("ED", "NCR", "ET") if label is not None else ()):
        if (label == index).any():
            panel.contour((label == index).T, levels=[0.5], colors=[colour(index)], linewidths=1.3)
    panel.set_title(title, color=INK, fontsize=11)
    panel.axis("off")


def mark(panel: plt.Axes, x: int, y: int, class_name: str) -> None:
    """A cross where the click was."""
    panel.plot(x, y, marker="P", color=colour(CLASSES.index(class_name)), markersize=12, markeredgecolor="white")
    panel.annotate(f" {class_name} 1", (x, y), color="white", fontsize=11, xytext=(6, 6), textcoords="offset points")


def scores(label: np.ndarray, truth: np.ndarray) -> str:
    """Dice of the regions."""
    found = {name: dice(np.isin(label, members), np.isin(truth, members)) for name, members in REGIONS.items()}
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items())


def colour(index: int) -> tuple[float, ...]:
    """Of a class."""
    return tuple(value / 255 for value in CLASS_COLOURS[index])


if __name__ == "__main__":
    main()
