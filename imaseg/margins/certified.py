"""Certified margin: the L2 radius within which no change at all flips a voxel of the smoothed classifier.

    P[f(x + sigma z) = c] > tau at a voxel   =>   its smoothed class is c within sigma * Phi^-1(tau) of x

(Cohen, Rosenfeld & Kolter, ICML 2019; for segmentation Fischer, Baader & Vechev, ICML 2021.) c is the class that most
of `selection` noisy copies get; `samples` further copies test P > tau with an exact binomial test, corrected over the
voxels of an image. No gradients; `selection + samples` copies of each image through the model. It is a lower bound, of
the smoothed classifier (`Smoothed`, with infinitely many draws) and not of the model itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from imaseg.attacks.base import checked
from imaseg.frozen import Model, frozen
from imaseg.margins.binomial import least_votes, log_tails
from imaseg.margins.smoothed import check_noise, noisy_logits
from imaseg.perturbations.base import per_sample_count
from imaseg.scores import decide


@dataclass(frozen=True)
class CertifiedMarginResult:
    """Certified radii of a batch.

    Attributes:
        radius: (B, *spatial) float32, in the L2 norm over all values of the image, in its units; 0 where it abstains.
        abstained: (B, *spatial) bool, True where not even the smallest tau could be shown.
        prediction: (B, *spatial) int64, or (B, K, *spatial) bool for region-based models: the class that `radius` is
            about. Where it abstains it is only the most frequent one of the selection samples.
        votes: (B, *spatial) int32, how many of the samples agree with `prediction`; over regions the fewest.
        values: number of values of one image, over which `radius` is a norm.
        settings: the certificate that was asked for; calling it again on the same batch gives the same result.
        forward_calls: forward passes of the model, each with `settings.batch_size` copies of all images.
    """

    radius: Tensor = field(repr=False)
    abstained: Tensor = field(repr=False)
    prediction: Tensor = field(repr=False)
    votes: Tensor = field(repr=False)
    values: int
    settings: CertifiedMargin
    forward_calls: int

    @property
    def radius_rms(self) -> Tensor:
        """`radius` in RMS per voxel, as `L2(unit="rms")` measures."""
        return self.radius / math.sqrt(self.values)


@dataclass(frozen=True)
class CertifiedMargin:
    """Certified radius of each voxel by randomised smoothing.

    With probability 1 - alpha over the noise, all radii of an image hold at once (the family-wise error rate of each
    image is at most alpha, however its voxels depend on each other).

    Several values of tau give radii of several levels, under the same alpha: each voxel is tested at the smallest tau
    first and climbs until a test fails (a sequentially rejective procedure; Goeman & Solari, Annals of Statistics
    2010). What it costs is that Holm's correction is relaxed only by voxels that passed the largest tau.

    Args:
        sigma: standard deviation of the noise, in the units of the image.
        samples: noisy copies that the votes of the test are counted on.
        alpha: probability that any radius of an image is wrong.
        tau: vote share to be exceeded, or several in rising order, in (0.5, 1).
        selection: noisy copies that choose the class.
        correction: over voxels; "holm" certifies all that "bonferroni" does and more.
        batch_size: noisy copies of each image in a pass. The result does not depend on it.
        seed: seed of the noise; the global generators are neither read nor moved.
        regions: whether channels are independent (sigmoid); a single logit channel always is. A voxel is
            certified if each of its channels is.

    Raises:
        ValueError: if an argument is out of its range.

    >>> halves = lambda image: torch.cat([-image, image], 1)  # the class is the sign of the voxel
    >>> CertifiedMargin(sigma=0.5)(halves, torch.tensor([[[[-2.0, 0.1, 2.0]]]])).radius
    tensor([[[0.3372, 0.0000, 0.3372]]])
    """

    sigma: float
    samples: int = 100
    alpha: float = 0.001
    _: KW_ONLY
    tau: float | Sequence[float] = 0.75
    selection: int = 10
    correction: Literal["holm", "bonferroni"] = "holm"
    batch_size: int = 1
    seed: int = 0
    regions: bool = False

    def __post_init__(self) -> None:
        check_noise(self.sigma, samples=self.samples, selection=self.selection, batch_size=self.batch_size)
        if not 0 < self.alpha < 1:
            msg = f"alpha must be in (0, 1), got {self.alpha}. Use 0.001."
            raise ValueError(msg)
        edges = (0.5, *self.taus, 1.0)
        if len(edges) < 3 or not all(low < high for low, high in pairwise(edges)):
            msg = f"tau must be in (0.5, 1), several in rising order, got {self.tau}. Use 0.75."
            raise ValueError(msg)
        if self.correction not in ("holm", "bonferroni"):
            msg = f"correction must be 'holm' or 'bonferroni', got {self.correction!r}."
            raise ValueError(msg)

    @property
    def taus(self) -> tuple[float, ...]:
        """`tau` as a tuple."""
        return (float(self.tau),) if isinstance(self.tau, int | float) else tuple(self.tau)

    def __call__(self, model: Model, image: Tensor) -> CertifiedMarginResult:
        """Certify each voxel of each image of a batch.

        Args:
            model: callable image -> logits (B, K, *spatial) or (B, K).
            image: (B, C, *spatial) float.

        Returns:
            Radii, where it abstains, and the classes they are about.

        Raises:
            ValueError: if image is not floating, the model's logits are undefined, or not even voxels with all
                `samples` votes could be certified at the largest tau in an image of this size.
        """
        image = checked(image)
        with frozen(model), torch.no_grad():
            counter = _VoteCounter(model, image, self)
            picked = counter.pick()
            votes = counter.agreeing(picked)
        tails = torch.stack([log_tails(self.samples, tau) for tau in self.taus])
        level = torch.stack([self._level(counts, tails) for counts in votes])
        shape = (len(image), *counter.spatial)
        return CertifiedMarginResult(
            radius=self._radii().to(image.device)[level].reshape(shape),
            abstained=(level == 0).reshape(shape),
            prediction=counter.prediction(picked),
            votes=votes.reshape(shape),
            values=per_sample_count(image),
            settings=self,
            forward_calls=counter.passes,
        )

    def _level(self, votes: Tensor, tails: Tensor) -> Tensor:
        """How many values of tau are shown to be exceeded at each voxel (N,) of an image."""
        if float(tails[-1, self.samples]) > math.log(self.alpha / len(votes)):
            needed = math.ceil(math.log(self.alpha / len(votes)) / math.log(self.taus[-1]))
            msg = (
                f"samples must be >= {needed} to certify any of {len(votes)} voxels with tau={self.taus[-1]} at "
                f"alpha={self.alpha}, got {self.samples}. Use a smaller tau or more samples."
            )
            raise ValueError(msg)
        least = least_votes(votes, tails, alpha=self.alpha, holm=self.correction == "holm")
        return torch.bucketize(votes, least.to(votes), right=True)

    def _radii(self) -> Tensor:
        """Radius of each level; level 0 means that not even the smallest tau was shown."""
        quantiles = torch.special.ndtri(torch.tensor(self.taus, dtype=torch.float64))
        return torch.cat([torch.zeros(1), (self.sigma * quantiles).float()])


class _VoteCounter:
    """Counts the decisions of a model under noise; only counts are stored."""

    regions: bool
    spatial: torch.Size

    def __init__(self, model: Model, image: Tensor, settings: CertifiedMargin) -> None:
        self.model, self.image, self.settings = model, image, settings
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.passes = 0

    def pick(self) -> Tensor:
        """The class that most of the selection samples get, (B, K, N) bool."""
        votes = torch.zeros((), dtype=torch.int32, device=self.image.device)
        for decided in self._decisions(self.settings.selection):
            votes = votes + decided.sum(0, dtype=torch.int32)
        return votes * 2 > self.settings.selection if self.regions else decide(votes, regions=False)

    def agreeing(self, picked: Tensor) -> Tensor:
        """How many of `samples` new copies get that class, (B, N) int32; over regions the fewest.

        Since "every region exceeds tau" fails already if one of them does not, its test is that of the region with
        the fewest votes, with no correction over regions (an intersection-union test; Berger, Technometrics 1982).
        """
        votes = torch.zeros((), dtype=torch.int32, device=self.image.device)
        for decided in self._decisions(self.settings.samples):
            agrees = decided == picked
            agrees = agrees if self.regions else agrees.all(2, keepdim=True)
            votes = votes + agrees.sum(0, dtype=torch.int32)
        return votes.amin(1)

    def prediction(self, picked: Tensor) -> Tensor:
        """Picked classes as segmentation: (B, *spatial) int64, or (B, K, *spatial) bool for regions."""
        if self.regions:
            return picked.reshape(*picked.shape[:2], *self.spatial)
        return picked.byte().argmax(1).reshape(len(picked), *self.spatial)

    def _decisions(self, samples: int) -> Iterator[Tensor]:
        """Decisions (copies, B, K, N) bool."""
        sigma, copies = self.settings.sigma, self.settings.batch_size
        for logits in noisy_logits(self.model, self.image, sigma, samples, self.generator, batch_size=copies):
            self.passes += 1
            if bool(logits.isnan().any()):
                msg = "logits of the model must be defined on noisy copies of the image, got NaN. Check its weights."
                raise ValueError(msg)
            self.regions = self.settings.regions or logits.shape[2] == 1
            self.spatial = logits.shape[3:]
            yield decide(logits.flatten(0, 1), regions=self.regions).reshape(*logits.shape[:3], -1)
