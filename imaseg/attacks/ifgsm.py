"""Iterated fast gradient method: `PGD` that starts at the clean image instead of a random point.

Its first step is FGSM's, so it is never weaker than FGSM. Passes as in `PGD`.
Kurakin, Goodfellow & Bengio, "Adversarial machine learning at scale", ICLR 2017.
"""

from __future__ import annotations

from imaseg.attacks.pgd import PGD


class IFGSM(PGD):
    """Projected gradient ascent from the clean image; arguments as in `PGD`. Restarts after the first are random."""

    title = "I-FGSM"
    reference = (
        "Kurakin A, Goodfellow IJ, Bengio S. Adversarial examples in the physical world. ICLR "
        "Workshop 2017. arXiv:1607.02533."
    )
    cited = "Kurakin et al. 2017"

    random_start = False
