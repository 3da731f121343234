"""What the channels of a network stand for: classes, structures that are painted over each other, or regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imaseg.errors import InputError
from imaseg.models.card import Card
from imaseg.models.outputs.regions import innermost, painted


@dataclass(frozen=True)
class Layout:
    """Channels and classes of a network.

    Attributes:
        labels: name by class, background included.
        channels: class of each channel, in the order of painting; None if channels are classes, or structures 1, 2, ...
        regions: classes inside each region by name, in the order of painting; empty without regions.
        values: names of the label values that regions are stated in, background included; empty where these are the
            classes themselves.
        classes: class of each of these values.
    """

    labels: dict[int, str]
    channels: dict[int, int] | None = None
    regions: dict[str, list[int]] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)
    classes: dict[int, int] = field(default_factory=dict)


def lay_out(card: Card, channels: int, *, softmax: bool, name: str) -> Layout:
    """Tell what channels are from the card; class numbers stand for names that it does not give.

    Args:
        card: of the network.
        channels: that it returns.
        softmax: whether it ends in one, so that channels are classes.
        name: of the model, for messages.

    Raises:
        InputError: if the card speaks of another number of channels.
    """
    if not (stated := card.named_regions):
        return Layout(_labels(card, channels, name), card.painted_channels)
    order = painted(stated, source=name)
    number = len({0, *(card.labels or ())})
    if (softmax or len(stated) != channels) and card.labels and channels == number == max(card.labels) + 1:
        return Layout(card.labels, regions={region: sorted({*stated[region]}) for region in order})
    if softmax or len(stated) != channels:
        msg = (
            f"{name}: regions must name the network's {channels} channels, or sets of its {channels} classes with "
            f"`labels:` for all of them, got {', '.join(stated)}. Correct the card."
        )
        raise InputError(msg)
    return _nested(stated, order, card.labels or {})


def _nested(stated: Mapping[str, list[int]], order: list[str], names: Mapping[int, str]) -> Layout:
    """One class per region: what is inside it and in no smaller one."""
    place = {region: number for number, region in enumerate(order, start=1)}
    values = sorted({value for inside in stated.values() for value in inside})
    return Layout(
        labels={0: "background"} | {number: region for region, number in place.items()},
        channels={list(stated).index(region): place[region] for region in order},
        regions={
            region: [place[other] for other in order if {*stated[other]} <= {*stated[region]}] for region in order
        },
        values={0: "background"} | {value: names.get(value, str(value)) for value in {*values, *names} - {0}},
        classes={value: innermost(value, stated, order) for value in {*values, *names}},
    )


def _labels(card: Card, channels: int, name: str) -> dict[int, str]:
    painting = card.painted_channels
    if painting is not None:
        classes = max(painting.values()) + 1
        fits = max(painting) < channels
    else:
        classes = len(card.labels) if card.labels else max(channels, 2)
        fits = channels in (classes, classes - 1)
    if (card.labels is not None and len(card.labels) != classes) or not fits:
        told = f"regions {painting}" if painting is not None else f"{classes} classes"
        msg = (
            f"{name}: labels must name the {max(channels, 2)} classes of the network's {channels} channels, background "
            f"included, got {told} and labels {card.labels}. Correct the card."
        )
        raise InputError(msg)
    return card.labels or {0: "background"} | {k: str(k) for k in range(1, classes)}
