"""The loss against the two obvious ways to write it, and against its own matrix products, which are the limit."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ndiv_lib import ndiv_loss

SIZES = [(n, d) for d in (2, 3072, 12288, 49152) for n in (32, 64, 128, 256, 512)]
BROADCAST_LIMIT = 2e9  # bytes of one (n, n, d) tensor


def eq_4(latent_distances: Tensor, output_distances: Tensor, alpha: float = 0.5) -> Tensor:
    n = len(latent_distances)
    z, y = (d / d.sum(1, keepdim=True).detach() for d in (latent_distances, output_distances))
    return (alpha * z - y).relu().sum() / (n * n - n)


def exact_cdist(points: Tensor) -> Tensor:
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def broadcast(points: Tensor) -> Tensor:
    return (points[:, None] - points[None] + 1e-12).norm(dim=-1)


def interleaved(functions: dict[str, Callable[[], object]], seconds: float = 1.5) -> dict[str, float]:
    """Median milliseconds of each function, timed in turns so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    started = time.perf_counter()
    while len(times[next(iter(times))]) < 3 or (time.perf_counter() - started < seconds):
        for name, function in functions.items():
            before = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - before))
    return {name: statistics.median(values) for name, values in times.items()}


def forward_backward(loss: Callable[[Tensor], Tensor], outputs: Tensor) -> Callable[[], None]:
    def run() -> None:
        outputs.grad = None
        loss(outputs).backward()

    return run


def rows() -> Iterator[dict[str, float]]:
    """One row per size: milliseconds of the loss, and how many times longer the others take."""
    for n, d in SIZES:
        generator = torch.Generator().manual_seed(0)
        latents = torch.rand(n, 8, generator=generator)
        outputs = torch.randn(n, d, generator=generator).requires_grad_()
        points, weights = outputs.detach(), torch.rand(n, n, generator=generator)
        functions = {
            "loss": forward_backward(lambda y, z=latents: ndiv_loss(z, y), outputs),
            "cdist": forward_backward(lambda y, z=latents: eq_4(exact_cdist(z), exact_cdist(y)), outputs),
            "products": lambda p=points, w=weights: (p @ p.T, w @ p),
        }
        if 4.0 * n * n * d <= BROADCAST_LIMIT:
            functions["broadcast"] = forward_backward(
                lambda y, z=latents: eq_4(broadcast(z), broadcast(y)), outputs
            )
        milliseconds = interleaved(functions, seconds=0.0 if n * n * d > 2e8 else 1.0)
        yield {"n": n, "d": d, **milliseconds}


_MEMORY = """
import sys, torch
from pathlib import Path
from ndiv_lib import ndiv_loss
n, d = int(sys.argv[1]), int(sys.argv[2])
latents, outputs = torch.rand(n, 8), torch.randn(n, d).requires_grad_()
ndiv_loss(torch.rand(8, 8), torch.randn(8, 4000).requires_grad_()).backward()
def kilobytes(field):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if field in line)
Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
before = kilobytes("VmRSS")
ndiv_loss(latents, outputs).backward()
print((kilobytes("VmHWM") - before) * 1024)
"""


def extra_memory(n: int, d: int) -> float:
    """Peak bytes that forward and backward add, over the bytes of the outputs."""
    command = [sys.executable, "-c", _MEMORY, str(n), str(d)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / (4 * n * d)
