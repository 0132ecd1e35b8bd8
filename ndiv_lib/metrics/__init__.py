"""Measures of diversity and quality: functions first, every choice an argument."""

from ndiv_lib.metrics.coverage import cover_rate, outlier_rate

__all__ = ["cover_rate", "outlier_rate"]
