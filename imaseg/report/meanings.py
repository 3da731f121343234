"""What the budget of a perturbation set means, in a sentence."""

from __future__ import annotations

_MEANINGS = {
    "l2": "A change of any shape; its budget is the root mean square over all voxels, in units of the model's input.",
    "linf": "A change of any shape in which no voxel changes by more than the budget, in units of the model's input.",
    "bias-field": "Smooth brightness; a budget of 0.5 lets it rise by a factor of up to 1.5 and fall by as much.",
    "gamma": "One contrast curve for the whole image; a budget of 0.5 allows exponents from 1/1.5 to 1.5.",
    "deformation": "Tissue moves smoothly and without folds, and the label with it; the budget is the longest way.",
    "frequency": "Detail lost as in compression; the budget is the coarsest step in 1/255 of the intensity range.",
}


def set_meaning(perturbation: str) -> str:
    """The sentence; empty for a set that is not known here."""
    return _MEANINGS.get(perturbation, "")
