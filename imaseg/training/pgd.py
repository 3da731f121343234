"""Adversarial training at a fixed or ramped budget: loss = (1 - mix) L(clean) + mix L(PGD).

mix = 1 is Madry et al., ICLR 2018; mix = 0.5 is the half-and-half control that IMA has to beat. `steps` + 1 backward
passes per batch (the last one the caller's, over both halves). With `random_eps` every sample has a budget of its own
at every visit (`random_eps`: Kurakin et al., "Adversarial machine learning at scale", ICLR 2017, theirs from a
truncated normal distribution, here a uniform one).

With `replays` no search is made: each batch is trained on several times, and the backward pass that moves the weights
moves the perturbation too (Shafahi et al., "Adversarial training for free!", NeurIPS 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from imaseg.attacks import PGD
from imaseg.attacks.base import checked
from imaseg.frozen import Model, bare, plain
from imaseg.objectives import Objective
from imaseg.perturbations import Perturbation
from imaseg.training.base import Loss, TrainingMethod, check_count, check_share, check_still, drawn_shares
from imaseg.training.ids import case_ids
from imaseg.training.replay import Replay


class PGDTraining(TrainingMethod):
    """Trains on PGD samples, mixed with clean ones.

    Args:
        loss: see `TrainingMethod`.
        perturbation: what may change; its eps is the training budget.
        mix: weight of the adversarial loss, 0 to 1.
        steps: of PGD.
        ramp_epochs: epochs over which the budget grows linearly from eps / ramp_epochs to eps; 0 for fixed.
        random_eps: draw the budget of each sample at each visit, uniformly between 0 and what it would be without.
        warm: start each search where the case's last one ended, so that fewer steps suffice; `ids` are required then,
            unless the image's meta has them. As in `IMA`.
        replays: 0 for PGD; else the free variant: make that many optimiser's steps on each batch (`method.replays`
            tells the caller), in as many fewer epochs. `steps` and `objective` play no part then.
        objective: what PGD maximises, `Dice()` if not given.
        seed: of the random starts.

    Raises:
        ValueError: if mix is outside [0, 1], ramp_epochs or replays are negative, or replays come with `warm` or with a
            set that moves the label.
    """

    def __init__(
        self,
        loss: Loss,
        perturbation: Perturbation,
        *,
        mix: float = 0.5,
        steps: int = 8,
        ramp_epochs: int = 0,
        random_eps: bool = False,
        warm: bool = False,
        replays: int = 0,
        objective: Objective | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(loss, warm=warm)
        if warm and replays:
            msg = f"warm must be False with replays, got replays={replays}. They go on from the batch before anyway."
            raise ValueError(msg)
        self.mix = check_share("mix", mix)
        self.ramp_epochs = check_count("ramp_epochs", ramp_epochs, "Use 0 for a fixed budget.", at_least=0)
        self.random_eps = random_eps
        self.attack = PGD(perturbation, steps=steps, objective=objective)
        self._replay = Replay() if check_count("replays", replays, "Use 0 for PGD.", at_least=0) else None
        self._replays = replays
        if self._replay is not None:
            check_still(perturbation, "PGDTraining with replays")
        self.seed, self._epoch, self._calls = seed, 0, 0

    def __call__(self, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None = None) -> Tensor:
        """Mixed loss of the batch."""
        self._calls += 1
        perturbation = self.attack.perturbation
        radius = perturbation.radius(image) * self.ramp
        if self.random_eps:
            radius = radius * drawn_shares(len(image), self.seed + self._calls).to(radius)
        budget = perturbation.with_eps(radius)
        if self._replay is not None:
            attacked, moved = self._replay.attacked(budget, plain(image)), label
        else:
            attacked, moved = self._attacked(budget, model, image, label, ids)
        loss = self.mix * self._mean_loss(model, attacked, moved)
        return loss if self.mix == 1 else loss + (1 - self.mix) * self._mean_loss(bare(model), image, label)

    def _attacked(
        self, budget: Perturbation, model: Model, image: Tensor, label: Tensor, ids: Sequence[str] | None
    ) -> tuple[Tensor, Tensor]:
        """The perturbed images, and the labels that go with them."""
        seed, start = self.seed + self._calls, None
        if self.starts is not None:
            names, given = case_ids(image, ids), checked(image)
            start = self.starts.begin(names, given, budget, seed)
        result = self.attack.on(budget, seed=seed)(model, image, label, start=start)
        if self.starts is not None:
            self.starts.keep(names, given, result.params)
        return result.image, result.label

    @property
    def passes(self) -> int:
        halves = 1 if self.mix == 1 else 2
        return self.attack.steps + halves if self._replay is None else self.replays * halves

    @property
    def replays(self) -> int:
        return max(1, self._replays)

    @property
    def ramp(self) -> float:
        """Share of eps that this epoch trains with."""
        return min(1.0, (self._epoch + 1) / self.ramp_epochs) if self.ramp_epochs else 1.0

    def end_epoch(self) -> None:
        """Move the ramp on, share warm starts among ranks."""
        super().end_epoch()
        self._epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """Counters that rule ramp and random starts; with replays or `warm` the perturbations to go on from."""
        state = {**super().state_dict(), "epoch": self._epoch, "calls": self._calls}
        return state if self._replay is None else {**state, "replay": self._replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        super().load_state_dict(state)
        self._epoch, self._calls = int(state["epoch"]), int(state["calls"])
        if self._replay is not None:
            self._replay.load_state_dict(state.get("replay", {}))
