"""The steering recipe: every preset runs, pairs are what they say, ratios against a loop, and what the records show."""

from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F
from torchvision import models

from ndiv_lib.hmgan import HierarchicalDiversity
from ndiv_lib.metrics.features import imagenet_input
from ndiv_lib.metrics.perceptual import load_backbone
from ndiv_lib.recipes import steering
from ndiv_lib.reporting.results import load


def values(cell, metric):
    return np.array(load("steering", cell).values[metric])


@pytest.mark.parametrize("preset", steering.PRESETS)
def test_every_preset_runs(preset):
    config = steering.smoke(steering.PRESETS[preset])
    measured = steering.run(config, [0])
    assert all(len(one) == 1 and np.isfinite(one).all() for one in measured.values.values())
    wanted = {"joint", "high", "low"} if config.data == "one_to_many" else {"recall", "coverage"}
    assert wanted < set(measured.values)


def test_every_kind_of_term_is_finite_and_felt():
    config = steering.smoke(steering.Config())
    generator, _ = steering.networks(config, torch.Generator().manual_seed(0), 4)
    labels = torch.arange(4).repeat_interleave(config.per_class)
    latents = steering.draw_latents(config, len(labels), torch.Generator().manual_seed(1))
    for method in ("mode_seeking", "dsgan", "ndiv", "hierarchical"):
        path = steering.forward_path(generator, latents, labels)
        loss = steering.extra_loss(replace(config, method=method, alpha=1.0), path, 4)
        (slope,) = torch.autograd.grad(loss, generator.last.weight)
        assert torch.isfinite(loss) and slope.abs().max() > 0, method


def test_pairs_share_their_condition_or_not():
    labels = torch.arange(4).repeat_interleave(6)
    first, second = steering.pairs(labels, 4)
    assert len(first) == 12 and torch.equal(first, second)
    first, second = steering.pairs(labels, 4, share_condition=False)
    assert (first != second).all()


def test_the_loss_is_the_library_module_on_the_same_pairs():
    config = steering.Config(method="hierarchical", expected_ratio=(0.5, 1.0, 2.0))
    generator, _ = steering.networks(config, torch.Generator().manual_seed(0), 4)
    generator.eval()
    labels = torch.arange(4).repeat_interleave(config.per_class)
    latents = steering.draw_latents(config, len(labels), torch.Generator().manual_seed(1))
    ours = steering.extra_loss(config, steering.forward_path(generator, latents, labels), 4)
    module = HierarchicalDiversity(steering.path_names(generator), expected_ratio=config.expected_ratio)
    theirs, _, _ = module(generator, *steering.pairs(latents, 4), steering.pairs(labels, 4)[0])
    torch.testing.assert_close(ours, theirs)


def test_the_ratio_report_is_a_loop_over_pairs():
    config = steering.Config(num_samples=10)
    generator, _ = steering.networks(config, torch.Generator().manual_seed(0), 4)
    path, _ = steering.sample_path(config, generator.eval(), 4, seed=0)
    report = steering.ratio_report(path, 4)
    for layer, (before, after) in enumerate(pairwise(path), start=1):
        gaps = [
            [
                (rows[10 * c + i] - rows[10 * c + 5 + i]).abs().mean().item()
                for c in range(4)
                for i in range(5)
            ]
            for rows in (before, after)
        ]
        assert report[f"ratio_{layer}"] == pytest.approx(sum(gaps[0]) / sum(gaps[1]), rel=1e-4)
        of_pairs = [a / b for a, b in zip(*gaps, strict=True)]
        assert report[f"least_{layer}"] == pytest.approx(min(of_pairs), rel=1e-4)


def test_one_lambda_is_swept_and_the_others_are_one():
    for layer in steering.LAYERS:
        config = steering.steered(layer, 0.25)
        assert config.expected_ratio == tuple(0.25 if i == layer else 1.0 for i in steering.LAYERS)
    assert not {"steer1-1", "steer2-1"} & {cell.name for cell in steering.CELLS}


def test_every_method_has_eight_trials():
    methods = [config.method for config in steering.TUNED.values()]
    assert {method: methods.count(method) for method in set(methods)} == dict.fromkeys(steering.WINNERS, 8)


# --- Records ----------------------------------------------------------------------------------------------------------


def test_winners_have_the_best_score_of_their_trials():
    scores = {
        name: values(f"tuning-{name}", "joint").mean() - 1 + values(f"tuning-{name}", "precision").mean()
        for name in steering.TUNED
    }
    for method, winner in steering.WINNERS.items():
        trials = {name: score for name, score in scores.items() if steering.TUNED[name].method == method}
        assert steering.TUNED[max(trials, key=trials.get)] == winner


@pytest.mark.parametrize("layer", steering.LAYERS)
def test_the_realized_ratio_follows_lambda(layer):
    """Pooled over seeds, at every layer."""
    cells = ["ones" if ratio == 1 else f"steer{layer}-{ratio:g}" for ratio in steering.MONOTONE]
    realized = np.array([values(cell, f"ratio_{layer}") for cell in cells])
    lambdas = np.repeat(steering.MONOTONE, realized.shape[1])
    assert spearmanr(lambdas, realized.ravel()).statistic >= 0.9


def test_a_run_takes_less_than_a_minute():
    assert max(values(cell.name, "cpu_seconds").max() for cell in steering.CELLS if not cell.full_scale) < 60


@pytest.mark.skipif(
    not steering.feature_report(torch.zeros(2, 3, 16, 16), 1), reason="no weights of SqueezeNet"
)
def test_feature_diversity_is_the_mean_over_pairs_of_a_class():
    """Against a loop over the pairs, on the first level: unit features, squared distance, mean over positions."""
    images = 2 * torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
    network = models.squeezenet1_1()
    network.load_state_dict(load_backbone("squeeze"))
    enlarged = F.interpolate(images, size=64, mode="bilinear")
    with torch.no_grad():
        unit = F.normalize(network.features[:2](imagenet_input(enlarged)), dim=1)
    pairs = [pair for of_class in unit.split(3) for pair in permutations(of_class, 2)]
    expected = sum(float((a - b).square().sum(0).mean()) for a, b in pairs) / len(pairs)
    assert steering.feature_report(images, 2)["feature_1"] == pytest.approx(expected, rel=1e-5)
