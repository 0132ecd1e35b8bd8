"""Networks only, no training."""

from ndiv_lib.models.convolutional import ConvDiscriminator, ConvGenerator, TransposedGenerator
from ndiv_lib.models.encoder_decoder import CodePredictor, SkipEncoder, SkipGenerator
from ndiv_lib.models.mlp import MLP

__all__ = [
    "MLP",
    "CodePredictor",
    "ConvDiscriminator",
    "ConvGenerator",
    "SkipEncoder",
    "SkipGenerator",
    "TransposedGenerator",
]
