"""Training tools that know no method."""

from ndiv_lib.training.averages import averaged
from ndiv_lib.training.batches import Batches
from ndiv_lib.training.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from ndiv_lib.training.folder import RunMismatch, read_identity, read_sittings
from ndiv_lib.training.gather import gather_batch
from ndiv_lib.training.run import Run, TrainingDiverged
from ndiv_lib.training.speed import (
    Replayed,
    Speed,
    choose_precision,
    keep_capturable,
    make_accelerator,
    prepare_network,
)
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

__all__ = [
    "Batches",
    "CheckpointError",
    "Replayed",
    "Run",
    "RunMismatch",
    "Speed",
    "StackedDraws",
    "StackedMLP",
    "TrainingDiverged",
    "averaged",
    "choose_precision",
    "gather_batch",
    "keep_capturable",
    "make_accelerator",
    "prepare_network",
    "read_checkpoint",
    "read_identity",
    "read_sittings",
    "write_checkpoint",
]
