"""Measures of diversity and quality: functions first, every choice an argument."""

from typing import TYPE_CHECKING, Any

from ndiv_lib._checks import require
from ndiv_lib.metrics.bins import Bins, Floor, ndb
from ndiv_lib.metrics.coverage import cover_rate, outlier_rate
from ndiv_lib.metrics.features import extract_features
from ndiv_lib.metrics.frechet import frechet_distance, kernel_distance
from ndiv_lib.metrics.interpolation import (
    InterpolationReport,
    interpolation_report,
    straight_paths,
    turns_around,
)
from ndiv_lib.metrics.mean_pixel import mean_pixel_diversity
from ndiv_lib.metrics.modes import ModeReport, mode_report
from ndiv_lib.metrics.perceptual import feature_diversity, lpips_diversity
from ndiv_lib.metrics.precision_recall import (
    PrecisionRecall,
    mean_pairwise_distance,
    precision_recall_density_coverage,
)

if TYPE_CHECKING:
    from ndiv_lib.metrics.accumulated import Accumulated

__all__ = [
    "Accumulated",
    "Bins",
    "Floor",
    "InterpolationReport",
    "ModeReport",
    "PrecisionRecall",
    "cover_rate",
    "extract_features",
    "feature_diversity",
    "frechet_distance",
    "interpolation_report",
    "kernel_distance",
    "lpips_diversity",
    "mean_pairwise_distance",
    "mean_pixel_diversity",
    "mode_report",
    "ndb",
    "outlier_rate",
    "precision_recall_density_coverage",
    "straight_paths",
    "turns_around",
]


def __getattr__(name: str) -> Any:
    """``Accumulated`` is a torchmetrics class: that package is loaded when somebody asks for it."""
    if name == "Accumulated":
        require("torchmetrics", "metrics")
        return require("ndiv_lib.metrics.accumulated", "metrics").Accumulated
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
