"""Terms of the page, each explained where it first stands."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

TERMS = {
    "Dice": "Overlap of prediction and label, from 0 (none) to 1 (the same voxels)",
    "eps": "The budget of an attack: how large a change it may make, in the unit stated beside it",
    "L2 ball": "Changes of any shape whose root mean square over all voxels that may change stays within the budget",
    "L2 norm": "Square root of the sum of the squared changes of all voxels, in the units of the model's input",
    "L-infinity ball": "Changes of any shape in which no voxel changes by more than the budget",
    "RMS per voxel": "Root mean square of the change over the voxels that may change, in units of the model's input",
    "standard deviations of the image": "A share of the standard deviation of all grey values of the case",
    "image noise": "Standard deviation of the grain of the images, estimated from stored slices; the change as RMS",
    "native units": "The grey values of the image files, before any normalisation",
    "95 % interval": "A range that would hold the true mean in 95 of 100 such audits of other cases",
    "95 % CI": "Confidence interval: a range that would hold the true mean in 95 of 100 such audits of other cases",
    "margin": "The smallest change that breaks a case, as far as the search found it",
    "Margins": "The smallest changes that break a case, as far as the search found them",
    "censored": "Nothing up to the search limit broke the case, so its margin lies above that limit",
    "criterion": "What counts as broken; the one in use stands beside the margins",
    "validity check": "A test of the attack itself: a weak or broken attack makes a model look robust",
    "PGD": "Projected gradient descent: many small steps along the gradient, each kept within the budget",
    "Kaplan-Meier": "A curve that counts cases that nothing broke as unbroken up to their limit, and not beyond",
    "paired": "Each case is compared with itself under the other model, so that differences of cases do not count",
}
"""Each in one sentence; a longer term goes before a shorter one that it holds."""


_OWN = {
    "Dice": "Overlap of the prediction and that of the unchanged image, from 0 (none) to 1 (the same voxels)",
    "Agreement": "Dice of the prediction and that of the unchanged image, from 0 to 1 (the same voxels)",
}
"""Of audits without labels, instead or besides."""


class Explainer:
    """A filter of one page's templates: wraps each term where it first stands, for pointers, keyboards and print.

    Args:
        own: whether predictions are compared with the model's own of the unchanged image.

    Attributes:
        used: terms so far, with what they mean: a print lists them at its end.
    """

    def __init__(self, *, own: bool = False) -> None:
        self._left = dict(TERMS) | (_OWN if own else {})
        self.used: dict[str, str] = {}

    def __call__(self, text: str) -> Markup:
        """The text as HTML."""
        parts = (
            re.split(rf"(?<![\w-])({'|'.join(map(re.escape, self._left))})(?![\w-])", text) if self._left else [text]
        )
        return Markup("").join(self._explained(part) for part in parts)

    def _explained(self, part: str) -> Markup:
        meaning = self._left.pop(part, None)
        if meaning is None:
            return escape(part)
        self.used[part] = meaning
        key = f"term-{re.sub(r'[^a-z0-9]+', '-', part.lower())}"
        return Markup(
            '<dfn class="term" tabindex="0" aria-describedby="{0}">{1}<span role="tooltip" id="{0}">{2}</span></dfn>'
        ).format(key, part, meaning)
