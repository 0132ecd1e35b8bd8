"""Measures as torchmetrics: two processes give exactly what one does, and samples may come in any order."""

import pickle
from functools import partial

import pytest
import torch

from ndiv_lib import metrics
from ndiv_lib.metrics import (
    frechet_distance,
    kernel_distance,
    lpips_diversity,
    mean_pairwise_distance,
    ndb,
    precision_recall_density_coverage,
)

pytest.importorskip("torchmetrics")
pytest.importorskip("sklearn.cluster")  # loaded here once, and not by each process

MEASURES = {
    "ndb": partial(metrics.Accumulated, ndb, num_bins=4, seed=0),
    "frechet": partial(metrics.Accumulated, frechet_distance, features="pixels"),
    "kernel": partial(
        metrics.Accumulated,
        kernel_distance,
        features="pixels",
        subset_size=20,
        num_subsets=5,
        seed=0,
    ),
    "neighbors": partial(metrics.Accumulated, precision_recall_density_coverage, k=3),
    "spread": partial(metrics.Accumulated, mean_pairwise_distance),
}


def batches(rank=None):
    """Ten batches of unequal sizes; those of one rank of two, or all."""
    random = torch.Generator().manual_seed(0)
    sizes = [7, 12, 5, 9, 11, 6, 8, 10, 13, 4]
    real = [torch.randn(size, 2, 3, generator=random) for size in sizes]
    generated = [1.3 * torch.randn(size, 2, 3, generator=random) for size in sizes]
    chosen = range(10) if rank is None else range(rank, 10, 2)
    return [(real[i], generated[i]) for i in chosen]


def values(rank=None):
    found = {}
    for name, make in MEASURES.items():
        metric = make()
        for real, generated in batches(rank):
            if metric.takes_real:
                metric.update(real, real=True)
            metric.update(generated, real=False)
        value = metric.compute()
        found[name] = (value["js_divergence"], value["z_scores"].tolist()) if name == "ndb" else value
    return found


def of_one_process(rank, address, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(values(rank)))
    torch.distributed.destroy_process_group()


def test_two_processes_give_exactly_what_one_gives(tmp_path):
    address = f"file://{tmp_path / 'meeting'}"
    torch.multiprocessing.start_processes(
        of_one_process, (address, tmp_path), nprocs=2, start_method="fork", join=True
    )
    found = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]
    assert found[0] == found[1] == values()


def test_one_batch_is_the_function_itself_up_to_order():
    real, generated = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    found = values()
    direct = frechet_distance(real=real, generated=generated, features="pixels")
    assert found["frechet"] == pytest.approx(direct, rel=1e-10)
    neighbors = precision_recall_density_coverage(real=real, generated=generated, k=3)
    assert found["neighbors"] == vars(neighbors)
    assert found["spread"] == pytest.approx(mean_pairwise_distance(generated), rel=1e-6)


def test_reset_forgets():
    metric = MEASURES["spread"]()
    metric.update(100 * torch.randn(5, 3), real=False)
    metric.reset()
    metric.update(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), real=False)
    assert metric.compute() == 5


def test_what_it_refuses():
    accumulated = metrics.Accumulated
    with pytest.raises(ValueError, match="generated samples only: mean_pairwise_distance"):
        accumulated(mean_pairwise_distance).update(torch.rand(4, 2), real=True)
    with pytest.raises(ValueError, match="order of samples"):
        accumulated(lpips_diversity, pairs="consecutive")
    with pytest.raises(AttributeError, match="no attribute 'ndbb'"):
        _ = metrics.ndbb
