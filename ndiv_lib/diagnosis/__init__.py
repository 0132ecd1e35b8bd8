"""Is this mode collapse? Compare generated with real samples, and say what so many samples can tell."""

from ndiv_lib.diagnosis.checks import Finding, Power
from ndiv_lib.diagnosis.files import Samples, read_samples
from ndiv_lib.diagnosis.verdict import Bin, ConditionReport, Diagnosis, Pictures, diagnose

__all__ = [
    "Bin",
    "ConditionReport",
    "Diagnosis",
    "Finding",
    "Pictures",
    "Power",
    "Samples",
    "diagnose",
    "read_samples",
]
