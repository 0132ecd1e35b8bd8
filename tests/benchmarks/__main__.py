"""The benchmark table: ``make bench``. Every ratio is measured side by side in this run, on one thread."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.benchmarks import bound, diversity, loss, spectral, stacked, training

ROOT = Path(__file__).parents[2]


def line(name: str, value: str, target: str, holds: bool) -> None:
    """One row: what, measured, promised, and whether it holds."""
    print(f"{name:58s} {value:>12s}   {target:>12s}   {'holds' if holds else 'MISSED'}", flush=True)


def bench_loss() -> None:
    """The loss at every size; promises at the size of a CIFAR batch, and nowhere slower than exact cdist."""
    print(
        f"{'n':>5s} {'d':>6s} {'loss ms':>9s} {'broadcast':>10s} {'exact cdist':>12s} {'its products':>13s}   (times the loss)"
    )
    table = []
    for row in loss.rows():
        table.append(row)
        ratio = {name: row[name] / row["loss"] for name in ("broadcast", "cdist", "products") if name in row}
        wide = f"{ratio['broadcast']:9.1f}x" if "broadcast" in ratio else f"{'> 2 GB':>10s}"
        print(
            f"{row['n']:5d} {row['d']:6d} {row['loss']:9.2f} {wide} {ratio['cdist']:11.1f}x {ratio['products']:12.2f}x",
            flush=True,
        )
    row = next(row for row in table if (row["n"], row["d"]) == (128, 12288))
    print()
    for name, at_least in (("broadcast", 50.0), ("cdist", 6.0)):
        ratio = row[name] / row["loss"]
        line(
            f"loss, n=128, d=12288: faster than {name}",
            f"{ratio:.0f}x",
            f">= {at_least:.0f}x",
            ratio >= at_least,
        )
    ratio = row["loss"] / row["products"]
    line("loss, n=128, d=12288: times its two float32 products", f"{ratio:.2f}", "<= 3", ratio <= 3)
    slowest = max(row["loss"] / row["cdist"] for row in table if row["cdist"] > 1)
    line("loss at any size where exact cdist takes over 1 ms", f"{slowest:.2f}", "<= 1.1", slowest <= 1.1)
    memory = loss.extra_memory(512, 49152)
    line("extra memory at n=512, d=49152, over the outputs' own", f"{memory:.1f}x", "<= 4x", memory <= 4)


def bench_stacked() -> None:
    """Models per processor second, stacked over looped."""
    stacked.stacked(stacked.MODELS, 5), stacked.plain(1, 5)
    ratios = [
        stacked.cpu_seconds(stacked.plain, 100) / stacked.cpu_seconds(stacked.stacked, 100) for _ in range(5)
    ]
    ratio = statistics.median(ratios)
    line("stacked training, 8 models, over a plain loop", f"{ratio:.1f}x", ">= 3.5x", ratio >= 3.5)


def bench_bound() -> None:
    """The least expansion ratio, over two full distance matrices."""
    times = bound.milliseconds()
    ratio = times["bound"] / times["matrices"]
    line("ratio bound, m=4000, f=1024: times two L1 cdists", f"{ratio:.2f}", "<= 0.75", ratio <= 0.75)


def bench_diversity() -> None:
    """LPIPS diversity over pair by pair; NDB of 50,000 images of 3 x 32 x 32, on two threads (the only seconds here)."""
    ratio = diversity.lpips_ratio()
    line("LPIPS diversity of 38 images: faster than pair by pair", f"{ratio:.0f}x", ">= 10x", ratio >= 10)
    for max_dims, limit in ((512, 60), (None, 240)):
        seconds = diversity.ndb_seconds(max_dims)
        name = f"NDB, 2 x 50,000 x 3072, k=100, two cores, dims={max_dims or 'all'}"
        line(name, f"{seconds:.0f} s", f"<= {limit} s", seconds <= limit)


def bench_spectral() -> None:
    """Spherical harmonics: FFT and Legendre tables over the direct sum; one map of 256 x 256 (processor milliseconds)."""
    times = spectral.milliseconds()
    ratio = times["direct"] / times["transform"]
    line(
        "sphere, 64 x 64 samples: faster than SciPy's harmonics as a matrix",
        f"{ratio:.0f}x",
        ">= 3x",
        ratio >= 3,
    )
    milliseconds = spectral.milliseconds_of_256()
    line(
        "sphere, 256 x 256 samples to 16384 coefficients",
        f"{milliseconds:.1f} ms",
        "<= 20 ms",
        milliseconds <= 20,
    )


def bench_training() -> None:
    """The engine over a bare loop, and NDiv's share of a step; with a GPU also what the options of speed bring."""
    with training.twin_of_cifar10():
        added = training.overhead()
        line(
            "engine over a bare loop, CPU, CIFAR-10 at smoke size",
            f"{100 * added:+.1f} %",
            "<= 5 %",
            added <= 0.05,
        )
        share = training.ndiv_share()
        line(
            "NDiv's share of a full-width step, CPU, batch 64",
            f"{100 * share:.2f} %",
            "<= 3 %",
            share <= 0.03,
        )
        if not torch.cuda.is_available():
            print(
                "engine with all options over eager float32 on a GPU: not measured, there is no GPU",
                flush=True,
            )
            return
        found = training.on_gpu()
    name = f"engine, all options, over eager float32 ({found['steps_per_second']:.1f} steps/s)"
    line(name, f"{found['speedup']:.1f}x", ">= 3x", found["speedup"] >= 3)
    line(
        "NDiv's share of that step, GPU, batch 64",
        f"{100 * found['share']:.2f} %",
        "<= 3 %",
        found["share"] <= 0.03,
    )


def bench_import() -> None:
    """What the library adds to importing torch."""

    def seconds(statement: str) -> float:
        program = f"import torch, time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
        return min(float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(3))

    added = seconds("import ndiv_lib") - seconds("pass")
    line("import ndiv_lib, beyond import torch", f"{added:.2f} s", "< 1 s", added < 1)


def bench_book() -> None:
    """All notebooks run and all pages rendered, without the environment."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [
            str(Path(sys.executable).parent / "jupyter-book"),
            "build",
            ".",
            "--toc",
            "book/_toc.yml",
            "--path-output",
            folder,
        ]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        minutes = (time.perf_counter() - started) / 60
    line("book: all notebooks run, all pages rendered", f"{minutes:.1f} min", "<= 10 min", minutes <= 10)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for bench in (
        bench_loss,
        bench_stacked,
        bench_bound,
        bench_diversity,
        bench_spectral,
        bench_training,
        bench_import,
        bench_book,
    ):
        bench()
