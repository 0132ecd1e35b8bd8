"""Networks only, no training."""

from ndiv_lib.models._shared import ImageDiscriminator, ImageGenerator
from ndiv_lib.models.convolutional import ConvDiscriminator, ConvGenerator, TransposedGenerator
from ndiv_lib.models.dcgan import (
    ConditionalDCGANDiscriminator,
    ConditionalDCGANGenerator,
    SNDCGANDiscriminator,
    SNDCGANGenerator,
)
from ndiv_lib.models.encoder_decoder import CodePredictor, SkipEncoder, SkipGenerator
from ndiv_lib.models.mlp import MLP
from ndiv_lib.models.plain_residual import PlainResidualDiscriminator, PlainResidualGenerator
from ndiv_lib.models.residual import ResidualDiscriminator, ResidualGenerator

__all__ = [
    "MLP",
    "CodePredictor",
    "ConditionalDCGANDiscriminator",
    "ConditionalDCGANGenerator",
    "ConvDiscriminator",
    "ConvGenerator",
    "ImageDiscriminator",
    "ImageGenerator",
    "PlainResidualDiscriminator",
    "PlainResidualGenerator",
    "ResidualDiscriminator",
    "ResidualGenerator",
    "SNDCGANDiscriminator",
    "SNDCGANGenerator",
    "SkipEncoder",
    "SkipGenerator",
    "TransposedGenerator",
]
