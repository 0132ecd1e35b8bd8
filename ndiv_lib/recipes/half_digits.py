"""Digits whose top half is missing, disturbed in one of two ways, and a classifier that reads completed ones (cGML, Sec. 5.1).

As in print, a fifth of the training images carry the top half of another digit as well, or a share of them a white box.
scikit-learn's digits are the same task with fewer pixels than MNIST's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.data.images import load_images
from ndiv_lib.models.mlp import MLP
from ndiv_lib.recipes.two_branches import descend

SIDE = {"mnist": 32, "digits": 8}  # MNIST's 28 pixels with a margin of two
BOX = {
    "mnist": (slice(3, 9), slice(3, 9)),
    "digits": (slice(0, 2), slice(0, 2)),
}  # in the part that is always missing


@dataclass(frozen=True)
class Config:
    """The data and their disturbance."""

    data: Literal["mnist", "digits"] = "mnist"
    overlay: float = 0.2  # share of training images with another digit's top half laid over theirs; printed
    box: float = 0.0  # share of training images with the white box; "at different rates"
    batch_size: int = 32  # 20 in print, "not much change"


class Images(NamedTuple):
    """Images ``(n, 1, side, side)`` in [-1, 1] with their digits, for training and for tests."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


class Task(NamedTuple):
    """A batch: what is seen, ``(n, 1, side, side)`` with 0 in the hole, what it should become, and the hole (booleans)."""

    seen: Tensor
    targets: Tensor
    hole: Tensor


@cache
def load_data(data: Literal["mnist", "digits"]) -> Images:
    """MNIST with a margin, as ``data_scripts/mnist.py`` prepares it; or scikit-learn's digits, half of them for tests."""
    if data == "digits":
        split = load_digits_split(seed=0)
        return Images(split.train_images, split.train_labels, split.held_out_images, split.held_out_labels)
    (train, train_labels), (test, test_labels) = (load_images("mnist", split) for split in ("train", "test"))
    return Images(
        *(
            F.pad(train, (2, 2, 2, 2), value=-1),
            train_labels,
            F.pad(test, (2, 2, 2, 2), value=-1),
            test_labels,
        )
    )


# --- The task ---------------------------------------------------------------------------------------------------------


def disturb(config: Config, clean: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """New disturbances for every visit: the top half of another image over some, the brighter pixel counts; a box in some."""
    images, half = clean.clone(), clean.shape[-1] // 2
    overlaid = torch.rand(len(clean), generator=generator) < config.overlay
    images[overlaid, :, :half] = torch.maximum(clean, others)[overlaid, :, :half]
    boxed = torch.rand(len(clean), generator=generator) < config.box
    return torch.where(boxed[:, None, None, None], add_box(config, images), images)


def add_box(config: Config, images: Tensor) -> Tensor:
    """Images with the white box."""
    images, (rows, columns) = images.clone(), BOX[config.data]
    images[..., rows, columns] = 1.0
    return images


def hide(targets: Tensor, rows: Tensor) -> Task:
    """Hide the first rows of every image, ``rows`` ``(n,)``."""
    side = targets.shape[-1]
    hole = (torch.arange(side) < rows[:, None])[:, None, :, None].expand_as(targets)
    return Task(torch.where(hole, 0.0, targets), targets, hole)


def draw_task(config: Config, data: Images, generator: torch.Generator) -> Task:
    """A training batch. The hole covers five eighths of the top half at least, and all of it at most."""
    index, other = torch.randint(len(data.train), (2, config.batch_size), generator=generator)
    targets = disturb(config, data.train[index], data.train[other], generator)
    half = targets.shape[-1] // 2
    return hide(targets, torch.randint(half * 5 // 8, half + 1, (config.batch_size,), generator=generator))


def missing_cost(outputs: Tensor, task: Task, power: int = 1) -> Tensor:
    """Mean difference (or its square) over the missing pixels, one for each image ``(n,)``."""
    difference = (outputs - task.targets).abs() ** power * task.hole
    return difference.sum((1, 2, 3)) / task.hole.sum((1, 2, 3))


def complete(outputs: Tensor, task: Task) -> Tensor:
    """What is seen, and outputs ``(..., n, 1, side, side)`` in the hole."""
    return torch.where(task.hole, outputs, task.seen)


# --- Reading ----------------------------------------------------------------------------------------------------------


@cache
@torch.enable_grad()
def classifier(data: Literal["mnist", "digits"]) -> nn.Module:
    """A classifier of clean images ``(n, 1, side, side)``: two convolutions and a linear layer, or two dense layers."""
    images, generator = load_data(data), torch.Generator().manual_seed(0)
    num_updates = {"mnist": 1200, "digits": 300}[data]
    network: nn.Module
    if data == "digits":
        network = nn.Sequential(nn.Flatten(), MLP([64, 128, 10], generator=generator))
    else:
        blocks: list[nn.Module] = []
        for fan_in, fan_out in ((1, 16), (16, 32)):
            conv = nn.Conv2d(fan_in, fan_out, 5, padding=2)
            nn.init.kaiming_normal_(conv.weight, generator=generator)
            blocks += [conv, nn.BatchNorm2d(fan_out), nn.ReLU(), nn.MaxPool2d(2)]
        network = nn.Sequential(*blocks, nn.Flatten(), MLP([32 * 64, 10], generator=generator))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=num_updates)
    for _ in range(num_updates):
        index = torch.randint(len(images.train), (128,), generator=generator)
        descend(optimizer, F.cross_entropy(network(images.train[index]), images.train_labels[index]))
        schedule.step()
    return network.eval()


@torch.no_grad()
def read(data: Literal["mnist", "digits"], images: Tensor) -> Tensor:
    """The digit ``(n,)`` that the classifier reads in images ``(n, 1, side, side)``."""
    return torch.cat([classifier(data)(part).argmax(1) for part in images.split(1000)])
