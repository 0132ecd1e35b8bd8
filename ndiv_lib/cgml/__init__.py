"""Conditional generation by searching the latent space (Ramasinghe et al., cGML): formulas first, a thin module over them."""

from ndiv_lib.cgml.color import color_cost, uniform_divergence
from ndiv_lib.cgml.inference import infer
from ndiv_lib.cgml.latent_search import LatentSearch, StepReport
from ndiv_lib.cgml.uncertainty import (
    HeadSpread,
    fit_head_spread,
    interval_factor,
    output_covariance,
    output_variance,
)
from ndiv_lib.cgml.updates import (
    draw_latents,
    generator_loss,
    latent_step,
    latent_update,
    momentum,
    predictor_loss,
    project,
)

__all__ = [
    "HeadSpread",
    "LatentSearch",
    "StepReport",
    "color_cost",
    "draw_latents",
    "fit_head_spread",
    "generator_loss",
    "infer",
    "interval_factor",
    "latent_step",
    "latent_update",
    "momentum",
    "output_covariance",
    "output_variance",
    "predictor_loss",
    "project",
    "uniform_divergence",
]
