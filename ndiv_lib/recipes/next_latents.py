"""What searches of the toy with two branches show to a predictor, and what it makes of it (cGML, Sec. 2.1, 2.2).

From one latent, searches for either answer go different ways. Here they are repeated with the final generator, and their moves
are sorted by the latent they start from: mean, median, length, and beside them the predictor's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ndiv_lib._checks import require
from ndiv_lib.cgml import momentum, predictor_loss
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import two_branches
from ndiv_lib.recipes.two_branches import (
    Config,
    Joined,
    Models,
    draw_inputs,
    draw_starts,
    draw_targets,
    l1_cost,
)
from ndiv_lib.training.stacked import StackedDraws

REACH = 3.0  # codes are looked for on [-3, 3]: the interval is where walks start, not where they stay
BIN = 0.05  # of latents, about one training step wide

COLUMNS = (
    "latent",
    "visits",
    "mean_move",
    "median_move",
    "predicted_move",
    "move_spread",
    "mean_length",
    "median_length",
    "predicted_length",
)


def visits(
    config: Config, models: Models, inputs: Tensor, draws: StackedDraws
) -> tuple[Tensor, Tensor, Tensor]:
    """Every step of one search from each input ``(k, n, 1)``, for an answer drawn as in training.

    Returns:
        Features ``(k, steps * n, f)``, latents before ``(k, steps * n, dz)`` and after the step.
    """
    targets = draw_targets(config, draws, inputs)
    features = models.encoder(inputs)
    starts = draw_starts(config, draws, inputs.shape[1])
    path = torch.stack(two_branches.search(config, models.generator, features, targets, starts), dim=1)
    return features.repeat(1, config.steps, 1), path[:, :-1].flatten(1, 2), path[:, 1:].flatten(1, 2)


def relearn(config: Config, models: Models, seeds: Sequence[int], *, num_updates: int) -> Joined:
    """A new predictor, taught by 2000 searches with the final generator: nothing moves or disturbs while it learns."""
    draws = StackedDraws(seeds, stream=5)
    seen = torch.cat(visits(config, models, draw_inputs(config, draws, 2000), draws), dim=-1)
    sizes = (config.num_features, config.latent_dim, config.latent_dim)
    predictor = Joined([sum(sizes[:2]), config.width, config.width, config.latent_dim + 1], draws)
    adam = torch.optim.Adam(predictor.parameters(), lr=config.learning_rate, fused=True)
    for _ in range(num_updates):
        features, before, after = draws.batch(seen, 256).split(sizes, dim=-1)
        rho = momentum(before, after, scale=config.momentum_scale)
        loss = predictor_loss(predictor(features, before), after, rho, norm=config.predictor_norm)
        two_branches.descend(adam, len(seeds) * loss)  # each seed its own mean
    return predictor.eval().requires_grad_(False)


def bin_moves(
    before: Tensor, after: Tensor, predicted: Tensor, *, scale: float = 1.0, least: int = 100
) -> np.ndarray:
    """Moves of one seed by the latent they start from: a row of :data:`COLUMNS` for each bin with at least so many visits."""
    latents, move = before[:, 0].numpy(), (after - before)[:, 0].numpy()
    length = momentum(before, after, scale=scale).numpy()
    predicted_move, predicted_length = (predicted[:, 0] - before[:, 0]).numpy(), predicted[:, 1].numpy()
    rows = []
    bins = np.floor(latents / BIN).astype(int)
    order = np.argsort(bins, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(bins[order])) + 1):
        if len(here) >= least:
            row = [move[here].mean(), np.median(move[here]), predicted_move[here].mean(), move[here].std()]
            row += [length[here].mean(), np.median(length[here]), predicted_length[here].mean()]
            rows.append([(bins[here[0]] + 0.5) * BIN, len(here), *row])
    return np.array(rows, dtype=np.float32)


def find_codes(models: Models, x: float) -> tuple[Tensor, Tensor, Tensor]:
    """A grid of latents ``(g)``, the distance of their outputs to either mode ``(k, g, 2)``, and the best latents ``(k, 2)``."""
    grid = torch.linspace(-REACH, REACH, 1201)
    num_seeds = len(models.encoder.weights[0])
    inputs = torch.full((num_seeds, len(grid), 1), x)
    with torch.no_grad():
        outputs = models.answers(inputs, grid.expand(num_seeds, -1)[..., None])
    costs = l1_cost(outputs[..., None, :], branch_modes(inputs))
    return grid, costs, grid[costs.argmin(1)]


def field_facts(
    config: Config, models: Models, seeds: Sequence[int], x: float, *, num_searches: int
) -> tuple[dict[str, list[float]], list[np.ndarray]]:
    """What next latents do at one input, what the predictor says of it, and each seed's table of moves."""
    searched = torch.full((len(seeds), num_searches, 1), x)
    features, before, after = visits(config, models, searched, StackedDraws(seeds, stream=4))
    grid, costs, codes = find_codes(models, x)
    with torch.no_grad():
        predicted = models.predictor(features, before)
        same = models.encoder(torch.full((len(seeds), len(grid), 1), x))
        rho = models.predictor(same, grid.expand(len(seeds), -1)[..., None])[..., 1].numpy()
    facts: dict[str, list[float]] = {}
    tables = []
    for k in range(len(seeds)):
        table = bin_moves(before[k], after[k], predicted[k], scale=config.momentum_scale)
        ends = codes[k].sort().values.tolist()
        row = move_facts(table, ends, scale=config.momentum_scale)
        visited = (grid.numpy() >= table[:, 0].min()) & (grid.numpy() <= table[:, 0].max())
        row |= rank_facts(grid.numpy(), costs[k].min(-1).values.numpy(), rho[k], ends, visited)
        for name, value in row.items():
            facts.setdefault(name, []).append(float(value))
        tables.append(table)
    return facts, tables


def move_facts(table: np.ndarray, codes: Sequence[float], *, scale: float = 1.0) -> dict[str, float]:
    """The predictor against the moves of :func:`bin_moves`.

    ``drift_to_mean``, ``drift_to_median``: mean distance of the predicted move from the mean and the median move, as a share of
    the mean length of a move; ``closer_to_mean``: their quotient; ``spread``: standard deviation of the moves from one place, as
    such a share; ``cancels``: the least |mean move| / mean length between the codes; ``rho_to_mean``, ``rho_to_median``: error of
    the predicted momentum, likewise, and ``rho_error_share``: against its error for other places. ``..._elsewhere`` compares
    the predictor with moves from other latents.
    """
    column = dict(zip(COLUMNS, table.T, strict=True))
    half, third, (low, high) = len(table) // 2, len(table) // 3, codes
    between = (column["latent"] > low + 0.2) & (column["latent"] < high - 0.2)
    cancels = abs(column["mean_move"]) * scale / column["mean_length"]
    length = column["mean_length"].mean()

    def distance(of: str, roll: int = 0) -> float:
        """From the predicted to the mean or median move or length, of the same or of other places."""
        kind, what = of.split("_")
        return float(abs(column[f"predicted_{what}"] - np.roll(column[f"{kind}_{what}"], roll)).mean())

    return {
        "drift_to_mean": distance("mean_move") * scale / length,
        "drift_to_mean_elsewhere": distance("mean_move", half) * scale / length,
        "drift_to_median": distance("median_move") * scale / length,
        "closer_to_mean": distance("mean_move") / distance("median_move"),
        "spread": column["move_spread"].mean() * scale / length,
        "cancels": float(cancels[between].min()) if between.any() else 1.0,
        "rho_to_mean": distance("mean_length") / length,
        "rho_to_median": distance("median_length") / length,
        "rho_error_share": distance("mean_length") / distance("mean_length", half),
        "rho_error_share_elsewhere": distance("mean_length", third) / distance("mean_length", half),
    }


def rank_facts(
    grid: np.ndarray, distance: np.ndarray, rho: np.ndarray, codes: Sequence[float], visited: np.ndarray
) -> dict[str, float]:
    """The predicted momentum over a grid of latents: does it grow with the distance of the output to the nearer mode?

    ``spearman``: their rank correlation over the latents visited, and with the distances of other latents
    (``spearman_elsewhere``); ``rho_at_codes``: the momentum at the codes over its largest between them.
    """
    spearmanr = require("scipy.stats", "metrics").spearmanr
    shifted = np.roll(distance[visited], visited.sum() // 4)
    inside = (grid >= codes[0]) & (grid <= codes[1])
    return {
        "spearman": spearmanr(distance[visited], rho[visited])[0],
        "spearman_elsewhere": spearmanr(shifted, rho[visited])[0],
        "rho_at_codes": float(np.interp(codes, grid, rho).mean() / rho[inside].max()),
    }
