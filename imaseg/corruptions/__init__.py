"""Faults of scanners and acquisitions at five severities, applied to a case before it is prepared for a model.

A severity is a change of the image (RMS over the body, in standard deviations there), except where a physical unit says
more. `Corruption.known()` holds them by name; `docs/corruptions.md` is the table of them.
"""

from imaseg.corruptions.base import SEVERITIES, Corrupted, Corruption, Effect
from imaseg.corruptions.bias_field import BiasField
from imaseg.corruptions.blur import Blur
from imaseg.corruptions.bright_spot import BrightSpot
from imaseg.corruptions.calibrate import LADDER
from imaseg.corruptions.ct_kernel import CTKernel
from imaseg.corruptions.ct_streaks import CTStreaks
from imaseg.corruptions.gamma import Gamma
from imaseg.corruptions.gaussian_noise import GaussianNoise
from imaseg.corruptions.ghosting import Ghosting
from imaseg.corruptions.gibbs_ringing import GibbsRinging
from imaseg.corruptions.intensity_shift import IntensityShift
from imaseg.corruptions.inverted_contrast import InvertedContrast
from imaseg.corruptions.low_dose import LowDose
from imaseg.corruptions.missing_channel import MissingChannel
from imaseg.corruptions.missing_slices import MissingSlices
from imaseg.corruptions.motion import Motion
from imaseg.corruptions.resolution_loss import ResolutionLoss
from imaseg.corruptions.rician_noise import RicianNoise
from imaseg.corruptions.rotation import Rotation
from imaseg.corruptions.shadow import Shadow
from imaseg.corruptions.slice_thickness import SliceThickness
from imaseg.corruptions.spikes import Spikes
from imaseg.corruptions.tissue_contrast import TissueContrast
from imaseg.corruptions.translation import Translation

__all__ = [
    "LADDER",
    "SEVERITIES",
    "BiasField",
    "Blur",
    "BrightSpot",
    "CTKernel",
    "CTStreaks",
    "Corrupted",
    "Corruption",
    "Effect",
    "Gamma",
    "GaussianNoise",
    "Ghosting",
    "GibbsRinging",
    "IntensityShift",
    "InvertedContrast",
    "LowDose",
    "MissingChannel",
    "MissingSlices",
    "Motion",
    "ResolutionLoss",
    "RicianNoise",
    "Rotation",
    "Shadow",
    "SliceThickness",
    "Spikes",
    "TissueContrast",
    "Translation",
]
