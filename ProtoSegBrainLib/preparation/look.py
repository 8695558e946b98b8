"""Is a study stripped, is it aligned? Told from the images, in milliseconds, and said in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ProtoSegBrainLib.images.brains import look_at_brains
from ProtoSegBrainLib.images.checks import skull_sentences, with_skull
from ProtoSegBrainLib.images.naming import names_of
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import MODALITIES


@dataclass(frozen=True)
class Look:
    """What the four images are.

    Attributes:
        with_skull: Roles of those that show more than the brain.
        are_apart: Whether one does not lie where the others show the head.
        skull_sentences: What a user should know of the skull if they are taken as they are.
        brain_sentences: The same of the brains.
    """

    with_skull: tuple[str, ...]
    are_apart: bool
    skull_sentences: tuple[str, ...] = ()
    brain_sentences: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether the network can take them as they are."""
        return not (self.with_skull or self.are_apart)

    @property
    def sentence(self) -> str:
        """For people: "With skull, not aligned"."""
        if not self.with_skull:
            skull = "Skull-stripped"
        else:
            skull = (
                "With skull" if len(self.with_skull) == len(MODALITIES) else f"{names_of(self.with_skull)} with skull"
            )
        return f"{skull}, {'not aligned' if self.are_apart else 'aligned'}"


def look_at(volumes: Mapping[str, Volume]) -> Look:
    """What images by role are; each on its own grid, 0 outside the brain where the skull was removed."""
    bare, brains = with_skull(volumes), look_at_brains(volumes)
    return Look(tuple(bare), brains.are_apart, tuple(skull_sentences(bare)), tuple(brains.sentences))
