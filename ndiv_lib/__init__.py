"""Diverse generation in PyTorch: normalized diversification, the methods around it, and how to measure diversity."""

from ndiv_lib import adversarial, baselines, cgml, data, metrics, models, spectral, training
from ndiv_lib.activations import record_activations
from ndiv_lib.diagnosis import diagnose
from ndiv_lib.distances import normalized_distances, pairwise_distances
from ndiv_lib.expansion_bound import expansion_ratio_bound
from ndiv_lib.hmgan import HierarchicalDiversity, expansion_ratios, hierarchical_loss, mode_seeking_loss
from ndiv_lib.ndiv import NormalizedDiversity, ndiv_loss

__version__ = "0.5.0"

__all__ = [
    "HierarchicalDiversity",
    "NormalizedDiversity",
    "adversarial",
    "baselines",
    "cgml",
    "data",
    "diagnose",
    "expansion_ratio_bound",
    "expansion_ratios",
    "hierarchical_loss",
    "metrics",
    "mode_seeking_loss",
    "models",
    "ndiv_loss",
    "normalized_distances",
    "pairwise_distances",
    "record_activations",
    "spectral",
    "training",
]
