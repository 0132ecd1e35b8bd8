"""Two processes that train together over gloo, on the CPU: what they see, printed as JSON.

    NDIV_DATA=... python -m tests.two_processes FOLDER

Both are children of this process, which has all imports and has never called backward(); they find each other through the
variables that torchrun and `accelerate launch` set.
"""

import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import distributed as dist
from torch import nn

from ndiv_lib import ndiv_loss
from ndiv_lib.recipes import image_gan
from ndiv_lib.training import Run, Speed, gather_batch, make_accelerator, read_checkpoint
from tests.processes import fork, wait

SECONDS = 60  # until a process that hangs is given up


def in_two(work: Callable[[int], object], folder: Path) -> list[int]:
    """Run the work in two processes as torchrun would; their exit codes. What a process returns lies in `said-RANK.pt`."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]

    def start(rank: int) -> None:
        place = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": 2,
            "LOCAL_WORLD_SIZE": 2,
            "MASTER_PORT": port,
        }
        os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="localhost")
        signal.alarm(SECONDS)
        torch.save(work(rank), folder / f"said-{rank}.pt")

    children = [fork(lambda rank=rank: start(rank)) for rank in range(2)]
    return [wait(child) for child in children]


def said(folder: Path) -> list:
    return [torch.load(folder / f"said-{rank}.pt") for rank in range(2)]


# --- the gathered loss ------------------------------------------------------------------------------------------------


def network(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 20)).to(dtype)


def loss_of(latents: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """NDiv at the slack that no network but a similarity satisfies."""
    return ndiv_loss(latents, outputs, alpha=1.0, reduction="sample")


def gathered_gradients(rank: int) -> dict:
    """Loss and gradients, of gathered and of local batches, through DDP; and of one process with everything."""
    accelerator = make_accelerator(Speed(cpu=True))
    assert (accelerator.num_processes, accelerator.process_index) == (2, rank)
    found = {}
    for dtype in (torch.float32, torch.float64):
        everything = torch.rand(12, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
        mine = everything[6 * rank : 6 * rank + 6]
        for name, gather in (("gathered", gather_batch), ("local", lambda tensor: tensor)):
            one, ours = network(dtype), accelerator.prepare(network(dtype))
            outputs = ours(mine)
            term = loss_of(gather(mine), gather(outputs))
            (8 * term + outputs.square().mean()).backward()
            whole = one(everything)
            of_one = loss_of(everything, whole)
            (8 * of_one + whole.square().mean()).backward()
            gradient, of_whole = (
                torch.cat([parameter.grad.flatten() for parameter in net.parameters()]) for net in (ours, one)
            )
            found[f"{name} {dtype}"] = {
                "loss": float(term.detach()),
                "loss of one": float(of_one.detach()),
                "gradients": float((gradient - of_whole).norm() / of_whole.norm()),
            }
    return found


def gathered_tensors(rank: int) -> dict:
    """Tensors of other kinds, and a gradient that belongs to another tensor as well."""
    dist.init_process_group("gloo")
    rows = torch.arange(6).view(2, 3) + 10 * rank
    wide = (torch.arange(12.0).view(3, 4) + 100 * rank).mT  # not contiguous
    mine, other = torch.ones(2, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    ((gather_batch(mine) + other) * torch.tensor(2.0 + rank)).sum().backward()
    dist.barrier()
    return {
        "integers": gather_batch(rows),
        "booleans": gather_batch(rows > 3),
        "half": gather_batch(rows.bfloat16()),
        "wide": gather_batch(wide),
        "mine": mine.grad,
        "other": other.grad,
    }


# --- a whole run --------------------------------------------------------------------------------------------------------

LITTLE = image_gan.Config(
    image_size=8,
    generator_width=8,
    discriminator_width=8,
    latent_dim=8,
    batch_size=6,
    discriminator_steps=1,
    accumulation=2,
    num_steps=4,
    spectral_norm=True,
    penalty="gradient",
    penalty_weight=1.0,
    diversity="ndiv",
    diversity_weight=8.0,
    diversity_batch="gathered",
    diversity_features="pooled",
    average_decay=0.9,
)


class KeptRun(Run):
    """Keeps its parts where they can be looked at, and lets a step be spoiled."""

    parts_of: ClassVar[dict] = {}
    at_step: Callable[[int], None] = staticmethod(lambda step: None)

    def __init__(self, folder, identity, parts, accelerator, **options):
        super().__init__(folder, identity, parts, accelerator, **options)
        type(self).parts_of = parts

    def steps(self, num_steps):
        for step in super().steps(num_steps):
            self.at_step(step)
            yield step


def train(folder: Path, **options) -> dict:
    """One sitting of the little run; its weights, and where its random numbers are."""
    image_gan.Run = KeptRun
    finished = image_gan.train(
        LITTLE, 0, folder, every=2, checkpoint_minutes=0, report=lambda _: None, **options
    )
    parts = KeptRun.parts_of
    weights = {
        f"{network}.{name}": value.detach().clone()
        for network in ("generator", "discriminator", "average")
        for name, value in parts[network].named_parameters()
    }
    return {"finished": finished, "weights": weights, "latents": parts["latents"].get_state()}


def die(rank: int, folder: Path) -> str:
    """The second process is killed in its third step; what the first one then hears."""

    def at_step(step: int) -> None:
        if rank == 1 and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    KeptRun.at_step = staticmethod(at_step)
    try:
        train(folder)
    except Exception as error:
        return "\n".join([type(error).__name__, *getattr(error, "__notes__", [])])
    return "nothing"


def equal(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def check_runs(folder: Path) -> dict:
    """Two processes in one sitting, in two sittings, and with a death in between: all must come to the same."""
    found = {}
    codes = in_two(lambda rank: train(folder / "peaceful"), folder)
    first, second = said(folder)
    found["peaceful"] = codes
    found["both hold equal weights"] = equal(first["weights"], second["weights"])
    found["both draw other latents"] = not torch.equal(first["latents"], second["latents"])
    _, state = read_checkpoint(folder / "peaceful" / "checkpoints")
    kept = [process["parts"]["latents"] for process in state["processes"]]
    found["both random states are kept"] = torch.equal(kept[0], first["latents"]) and torch.equal(
        kept[1], second["latents"]
    )
    places = [process["random"]["torch"] for process in state["processes"]]
    found["both draw other places"] = not torch.equal(*places)

    in_two(lambda rank: train(folder / "sittings", max_minutes=0.0), folder)
    found["first sitting"] = [process["finished"] for process in said(folder)]
    in_two(lambda rank: train(folder / "sittings", max_minutes=0.0), folder)
    found["two sittings are as one"] = [
        equal(now["weights"], before["weights"]) and torch.equal(now["latents"], before["latents"])
        for now, before in zip(said(folder), (first, second), strict=True)
    ]

    started = time.monotonic()
    found["death"] = in_two(lambda rank: die(rank, folder / "death"), folder)
    found["seconds to notice"] = time.monotonic() - started
    found["heard of the death"] = torch.load(folder / "said-0.pt")
    found["kept at death"] = read_checkpoint(folder / "death" / "checkpoints")[0]
    in_two(lambda rank: train(folder / "death"), folder)
    found["goes on after death"] = [
        equal(now["weights"], before["weights"])
        for now, before in zip(said(folder), (first, second), strict=True)
    ]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    for module in (
        "accelerate",
        "accelerate.utils",
        "safetensors.torch",
        "torch._dynamo",
        "torch.utils.tensorboard",
    ):
        importlib.import_module(module)
    found = {"gathered gradients": in_two(gathered_gradients, place)}
    found["of gathered gradients"] = said(place)
    found["gathered tensors"] = in_two(gathered_tensors, place)
    found["of gathered tensors"] = [
        {name: value.tolist() for name, value in one.items()} for one in said(place)
    ]
    print(json.dumps(found | check_runs(place)))
