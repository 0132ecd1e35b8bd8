"""Networks only, no training."""

from ndiv_lib.models.mlp import MLP

__all__ = ["MLP"]
