"""The kinds of probes: one question each, in a file of its own."""

from imaseg.auditing.probes.attack import AttackProbe
from imaseg.auditing.probes.base import AnyProbe, Cost, Probe
from imaseg.auditing.probes.certificate import CertificateProbe
from imaseg.auditing.probes.corruption import CorruptionProbe
from imaseg.auditing.probes.margin import MarginProbe
from imaseg.auditing.probes.universal import UniversalProbe
from imaseg.auditing.probes.voxel_margin import VoxelMarginProbe

__all__ = [
    "AnyProbe",
    "AttackProbe",
    "CertificateProbe",
    "CorruptionProbe",
    "Cost",
    "MarginProbe",
    "Probe",
    "UniversalProbe",
    "VoxelMarginProbe",
]
