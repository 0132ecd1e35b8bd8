"""Networks only, no training."""

from ndiv_lib.models.convolutional import ConvDiscriminator, ConvGenerator, TransposedGenerator
from ndiv_lib.models.mlp import MLP

__all__ = ["MLP", "ConvDiscriminator", "ConvGenerator", "TransposedGenerator"]
