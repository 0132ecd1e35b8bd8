"""Measures of diversity and quality: functions first, every choice an argument."""

from ndiv_lib.metrics.coverage import cover_rate, outlier_rate
from ndiv_lib.metrics.modes import ModeReport, mode_report
from ndiv_lib.metrics.precision_recall import (
    PrecisionRecall,
    mean_pairwise_distance,
    precision_recall_density_coverage,
)

__all__ = [
    "ModeReport",
    "PrecisionRecall",
    "cover_rate",
    "mean_pairwise_distance",
    "mode_report",
    "outlier_rate",
    "precision_recall_density_coverage",
]
