"""Measures of diversity and quality: functions first, every choice an argument."""

from ndiv_lib.metrics.bins import Bins, Floor, ndb
from ndiv_lib.metrics.coverage import cover_rate, outlier_rate
from ndiv_lib.metrics.interpolation import (
    InterpolationReport,
    interpolation_report,
    straight_paths,
    turns_around,
)
from ndiv_lib.metrics.modes import ModeReport, mode_report
from ndiv_lib.metrics.precision_recall import (
    PrecisionRecall,
    mean_pairwise_distance,
    precision_recall_density_coverage,
)

__all__ = [
    "Bins",
    "Floor",
    "InterpolationReport",
    "ModeReport",
    "PrecisionRecall",
    "cover_rate",
    "interpolation_report",
    "mean_pairwise_distance",
    "mode_report",
    "ndb",
    "outlier_rate",
    "precision_recall_density_coverage",
    "straight_paths",
    "turns_around",
]
