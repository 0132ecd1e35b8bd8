"""Kill one training again and again with SIGKILL, and compare it with one that was left in peace.

    python -m tests.killed_runs FOLDER --kills 20

A small model is trained with :class:`ndiv_lib.training.Run` and saves at every look, so that kills meet every moment of a
run: its first lines, its steps, the writing of checkpoints and logs, and going on. Printed is one line of JSON. Trainings are
children of this process, which has all imports and has never called backward().
"""

import argparse
import importlib
import json
import random
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ndiv_lib.training import Batches, Run, Speed, averaged, make_accelerator, read_checkpoint
from ndiv_lib.training.checkpoints import checkpoints
from tests.processes import fork, kill_after, wait

IDENTITY = {"recipe": "little", "config": {"width": 4, "nested": {"a": [1, 2]}}, "seed": 0}


def train_little(folder, num_steps=60, *, change=None, identity=IDENTITY, lines=None, **options):
    """A linear model with dropout, Adam, averages, and noise from all four random sources; return it and its run.

    ``change(step, network, terms)`` may spoil things.
    """
    accelerator = make_accelerator(Speed(cpu=True))
    torch.manual_seed(0), np.random.seed(0), random.seed(0)  # noqa: NPY002
    images = torch.arange(50 * 3 * 4 * 4).remainder(251).to(torch.uint8).view(50, 3, 4, 4)
    batches = Batches(images, torch.arange(50), batch_size=8, seed=0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    network.load_state_dict({name: torch.full_like(value, 1) for name, value in network.state_dict().items()})
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    average = averaged(network, 0.9)
    latents = torch.Generator().manual_seed(1)
    parts = {
        "network": network,
        "optimizer": optimizer,
        "average": average,
        "batches": batches,
        "latents": latents,
    }
    said = [] if lines is None else lines
    options = {"every": 5, "checkpoint_minutes": 0.0, "report": said.append} | options
    with Run(folder, identity, parts, accelerator, **options) as run:
        for step in run.steps(num_steps):
            real, labels = batches.next()
            elsewhere = random.random() + np.random.rand()  # noqa: NPY002
            noise = torch.rand(8, 1, generator=latents) + torch.rand(()) + elsewhere
            loss = (network(real) - noise - labels[:, None] / 50).square().mean()
            terms = {"squares": loss, "labels": labels.float().mean()}
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(network)
            if change is not None:
                change(step, network, terms)
            run.log(terms, num_images=8)
    return run


def log_of(folder):
    """What the log says beside times."""
    rows = map(json.loads, (Path(folder) / "log.jsonl").read_text().splitlines())
    return [{name: row[name] for name in row if name not in ("seconds", "images_per_second")} for row in rows]


def end_of(folder):
    """All that a finished run came to: the log, and the last checkpoint to the bit."""
    step, state = read_checkpoint(Path(folder) / "checkpoints", report=partial(fail, folder))
    del state["seconds"]
    return step, in_numbers(state), log_of(folder)


def in_numbers(state):
    """A state with lists of numbers in place of tensors, so that ``==`` compares every bit of it."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: in_numbers(value) for key, value in state.items()}
    return [in_numbers(value) for value in state] if isinstance(state, list | tuple) else state


def fail(folder, line):
    raise AssertionError(f"{folder}: {line}")


def kill_again_and_again(train, folder, num_kills, seed=0):
    """Kill, look, start again; then let it end. Returns what happened, for comparison with an uninterrupted run.

    Lives are so long that together they come to about three quarters of the time that the peaceful run took.
    """
    peaceful, killed = folder / "peaceful", folder / "killed"
    started = time.monotonic()
    assert wait(fork(lambda: train(peaceful))) == 0
    longest = 1.5 * (time.monotonic() - started) / num_kills
    draws, steps, kills = random.Random(seed), [], 0
    while kills < num_kills:
        if not kill_after(fork(lambda: train(killed)), draws.uniform(0.0, longest)):
            break  # it was finished before
        kills += 1
        found = read_checkpoint(killed / "checkpoints", report=partial(fail, killed))
        steps.append(found[0] if found else 0)
        assert steps == sorted(steps), "a run went back"
    assert wait(fork(lambda: train(killed))) == 0
    left_over = [path.name for path in (killed / "checkpoints").iterdir() if path.name.startswith(".")]
    return {
        "kills": kills,
        "steps": steps,
        "equal": end_of(killed) == end_of(peaceful),
        "checkpoints": len(checkpoints(killed / "checkpoints")),
        "left_over": left_over,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    # Before the first fork, as it takes long.
    for module in (
        "accelerate",
        "accelerate.utils",
        "safetensors.torch",
        "torch._dynamo",
        "torch.utils.tensorboard",
    ):
        importlib.import_module(module)
    train = partial(train_little, num_steps=asked.steps)
    print(json.dumps(kill_again_and_again(train, asked.folder, asked.kills)))
