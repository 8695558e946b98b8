"""Which prototypes the decision rests on more, or less, than before, in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ProtoSegBrainLib.explanation.explain import region_shares
from ProtoSegBrainLib.explanation.names import names_of
from ProtoSegBrainLib.followup.visit import Visit

LEAST_SHARE = 0.03
"""Of the evidence for the tumour, by which a prototype's share must differ to be named."""
NAMED = 3


@dataclass(frozen=True)
class Reason:
    """A prototype whose share of the evidence for the whole tumour differs between two dates.

    Attributes:
        prototype: Its number.
        class_name: For which it speaks.
        name: In words; "" where nothing is known of it.
        share_before: At the earlier date, 0 to 1.
        share_after: At the later date.
    """

    prototype: int
    class_name: str
    name: str
    share_before: float
    share_after: float

    @property
    def sentence(self) -> str:
        """For people."""
        more = "more" if self.share_after > self.share_before else "less"
        name = self.name.rpartition(": ")[2] or f"prototype {self.prototype}"
        shares = f"{self.share_before:.0%} to {self.share_after:.0%} of the evidence"
        return f"{more} of: {name} (prototype {self.prototype}, {self.class_name}; {shares})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        return asdict(self)


def reasons(earlier: Visit, later: Visit) -> tuple[Reason, ...]:
    """The prototypes whose share rose or fell most, the largest difference first; () where the models differ.

    Points of a person belong to one date alone and are left out.
    """
    before, after = earlier.prediction, later.prediction
    if not is_one_model([earlier, later]):
        return ()
    shares = [region_shares(prediction, "WT") for prediction in (before, after)]
    names, owners = names_of(before.evidence), before.evidence.prototype_class
    found = [
        Reason(index, owners[index], names.get(index, ""), shares[0].get(index, 0.0), shares[1].get(index, 0.0))
        for index in range(before.evidence.n_learned)
    ]
    differing = [each for each in found if abs(each.share_after - each.share_before) >= LEAST_SHARE]
    return tuple(sorted(differing, key=lambda each: -abs(each.share_after - each.share_before))[:NAMED])


def is_one_model(visits: Sequence[Visit]) -> bool:
    """Whether all results come from the same weights."""
    return len({visit.prediction.model.get("identity") for visit in visits}) == 1
