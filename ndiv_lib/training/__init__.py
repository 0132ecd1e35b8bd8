"""Training tools that know no method."""

from ndiv_lib.training.stacked import StackedDraws, StackedMLP

__all__ = ["StackedDraws", "StackedMLP"]
