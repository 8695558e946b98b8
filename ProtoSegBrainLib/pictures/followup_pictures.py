"""The pictures of a follow-up: every date in the same planes, what changed, volumes over time; no words."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ProtoSegBrainLib.followup.follow import FollowUp
from ProtoSegBrainLib.followup.maps import CHANGE_COLOURS, CHANGES
from ProtoSegBrainLib.images.volume import Volume, canonical, resample
from ProtoSegBrainLib.labels import MODALITIES, REGIONS
from ProtoSegBrainLib.pictures.drawing import colour_of, shade_of
from ProtoSegBrainLib.pictures.slices import (
    Picture,
    Slice,
    fill_layer,
    grey_limits,
    grey_pixels,
    outline_layer,
    picture,
    slices_through,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("t1c", "t2f")
"""Modalities in which the dates are compared."""
MOST_DATES = 4
"""That are shown side by side: the first, and the last ones."""
ZOOM_MARGIN_MM = 25.0
"""Around the tumour of all dates, in the maps of change."""
CURVE_INCHES = (7.2, 2.5)


@dataclass(frozen=True)
class DatePicture:
    """A date in one plane, laid on the first date.

    Attributes:
        picture: To be drawn, with outlines of the three regions.
        visit: Its name.
        plane: Name of the plane.
        modality: Which shows it.
    """

    picture: Picture
    visit: str
    plane: str
    modality: str


@dataclass(frozen=True)
class ChangePicture:
    """What stayed, is new and is gone of a region between two dates, over T1ce of the later one.

    Attributes:
        picture: To be drawn, around the tumour.
        region: WT, TC or ET.
        earlier: Name of the earlier date.
        later: Name of the later one.
        volumes_ml: Of what stayed, is new and is gone.
    """

    picture: Picture
    region: str
    earlier: str
    later: str
    volumes_ml: dict[str, float]


@dataclass(frozen=True)
class FollowUpPictures:
    """All pictures of the report.

    Attributes:
        rows: Planes, each with the dates side by side.
        changes: For each pair of neighbouring dates a row of three.
        curve: Volumes over time, an SVG.
    """

    rows: list[list[DatePicture]]
    changes: list[list[ChangePicture]]
    curve: Markup


def followup_pictures(followup: FollowUp) -> FollowUpPictures:
    """Draw everything that the report shows, on the grid of the first date."""
    views = _views(followup)
    return FollowUpPictures(
        rows=_rows(followup, views),
        changes=list(_changes(followup, views[0])),
        curve=curve(followup),
    )


def shown_visits(followup: FollowUp) -> list[int]:
    """Numbers of the dates that stand side by side."""
    count = len(followup.visits)
    return list(range(count)) if count <= MOST_DATES else [0, *range(count - MOST_DATES + 1, count)]


# -- dates in the same planes --------------------------------------------------------------------------------------


def _views(followup: FollowUp) -> list[Slice]:
    """Where the tumour of all dates is largest; where there is none, the widest brain."""
    first = canonical(Volume(followup.visits[0].prediction.label, followup.visits[0].prediction.affine))
    brain = canonical(Volume(followup.visits[0].case.brain, followup.visits[0].case.affine)).array
    labels = [_on_first(followup, n, first) for n in range(len(followup.visits))]
    masks = [np.isin(label, members) for label in labels for members in REGIONS.values()]
    masks = [mask for mask in masks if mask.any()] or [brain]
    indices = []
    for axis in range(3):
        areas = [mask.sum(axis=tuple(other for other in range(3) if other != axis)) for mask in masks]
        indices.append(int(np.argmax(sum(area / area.max() for area in areas))))
    return slices_through(Volume(np.maximum.reduce(labels), first.affine), brain, indices)


def _on_first(followup: FollowUp, number: int, first: Volume) -> np.ndarray:
    prediction, motion = followup.visits[number].prediction, followup.registrations[number].motion
    label = Volume(prediction.label.astype(np.uint8), motion @ prediction.affine)
    return resample(label, first.shape, first.affine, order=0).array


def _rows(followup: FollowUp, views: Sequence[Slice]) -> list[list[DatePicture]]:
    """A row for each plane, both modalities in it where there is room; else FLAIR has a row of its own."""
    limits = {
        role: [grey_limits(visit.case.images[MODALITIES.index(role)]) for visit in followup.visits] for role in SHOWN
    }
    numbers = shown_visits(followup)
    rows = {
        role: [[_dated(followup, n, role, view, limits[role][n]) for n in numbers] for view in views] for role in SHOWN
    }
    first, second = (rows[role] for role in SHOWN)
    if len(SHOWN) * len(numbers) <= MOST_DATES:
        return [[*one, *other] for one, other in zip(first, second, strict=True)]
    return [*first, second[0]]


def _dated(followup: FollowUp, number: int, role: str, view: Slice, limits: tuple[float, float]) -> DatePicture:
    label = _label(followup, number, view)
    layers = [grey_pixels(view, _image(followup, number, role, view), limits)]
    layers += [outline_layer(view, np.isin(label, REGIONS[name]), colour_of(name)) for name in REGIONS]
    return DatePicture(picture(view, layers), followup.visits[number].name, view.plane.name, role)


def _image(followup: FollowUp, number: int, role: str, view: Slice) -> np.ndarray:
    visit, motion = followup.visits[number], followup.registrations[number].motion
    return view.sample(Volume(visit.case.images[MODALITIES.index(role)], motion @ visit.case.affine))


def _label(followup: FollowUp, number: int, view: Slice) -> np.ndarray:
    prediction, motion = followup.visits[number].prediction, followup.registrations[number].motion
    return view.sample(Volume(prediction.label.astype(np.uint8), motion @ prediction.affine))


# -- what changed --------------------------------------------------------------------------------------------------


def _changes(followup: FollowUp, axial: Slice) -> Iterator[list[ChangePicture]]:
    tumour = np.logical_or.reduce([_label(followup, n, axial) > 0 for n in range(len(followup.visits))])
    view = axial.around(tumour, ZOOM_MARGIN_MM)
    for later in range(1, len(followup.visits)):
        limits = grey_limits(followup.visits[later].case.images[MODALITIES.index(SHOWN[0])])
        grey = grey_pixels(view, _image(followup, later, SHOWN[0], view), limits)
        row = []
        for each in (each for each in followup.maps if each.later == later):
            motion = followup.registrations[each.earlier].motion
            values = view.sample(Volume(each.on_earlier.array, motion @ each.on_earlier.affine))
            fills = [fill_layer(view, values == CHANGES.index(kind), c) for kind, c in CHANGE_COLOURS.items()]
            names = (followup.visits[each.earlier].name, followup.visits[later].name)
            row.append(ChangePicture(picture(view, [grey, *fills]), each.region, *names, dict(each.volumes_ml)))
        yield row


# -- volumes over time ---------------------------------------------------------------------------------------------


def curve(followup: FollowUp) -> Markup:
    """Volumes of the three regions at each date with the model's intervals, as an SVG.

    Without dates the scans stand in equal steps.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure  # loads on first use

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "followup", "font.size": 9}):
        figure = Figure(figsize=CURVE_INCHES, layout="constrained")
        panel = figure.subplots()
        _draw_curve(panel, followup)
        content = io.StringIO()
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = content.getvalue()
    return Markup(svg[svg.index("<svg") :])


def _draw_curve(panel: Axes, followup: FollowUp) -> None:
    names = [visit.name for visit in followup.visits]
    days = [visit.date.toordinal() for visit in followup.visits if visit.date is not None]
    at = days if len(days) == len(names) else list(range(len(names)))
    step = (at[-1] - at[0]) / 60  # intervals of the regions stand beside each other
    for number, region in enumerate(REGIONS):
        change = followup.regions[region]
        places = [place + (number - 1) * step for place in at]
        panel.plot(places, change.volumes_ml, "o-", color=shade_of(region), markersize=4, label=region)
        for place, interval in zip(places, change.intervals_ml, strict=True):
            if interval is not None:
                panel.plot([place, place], interval, color=shade_of(region), linewidth=3, alpha=0.3)
    panel.set_xticks(at, names)
    panel.set_ylim(bottom=0)
    panel.set_ylabel("ml")
    panel.legend(frameon=False, ncols=3, loc="upper right")
    panel.spines[["top", "right"]].set_visible(False)
