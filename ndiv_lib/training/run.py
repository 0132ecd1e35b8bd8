"""A training run as a folder: what it is, how far it is, and everything needed to go on.

    run.json        recipe, configuration, seed, versions, number of processes
    sittings.jsonl  where each sitting began, with its device and precision
    log.jsonl       the terms of the loss every so many steps, with images per second
    events/         the same for TensorBoard
    samples/        a grid of samples at every checkpoint
    checkpoints/    the newest two, see :mod:`ndiv_lib.training.checkpoints`

Interrupted at any moment, the same command goes on from the last checkpoint; on the CPU it comes to the same weights bit by bit.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from ndiv_lib._checks import check_integer, require
from ndiv_lib.training.checkpoints import read_checkpoint, write_checkpoint
from ndiv_lib.training.folder import RunMismatch, claim_folder, replace_text
from ndiv_lib.training.random_states import random_states, set_random_states, undisturbed

LARGEST_TERM = 1e6  # no loss of a healthy run comes near it


class TrainingDiverged(RuntimeError):
    """A term of the loss is not finite, or beyond all measure; the message names it."""


class Run:
    """One run in its folder: gives out step numbers, and takes care of all that is not the method.

    Used as a context manager around the training loop, which stays in the recipe::

        with Run(folder, identity, parts, accelerator) as run:
            for step in run.steps(config.num_steps):
                terms = update(...)
                run.log(terms, num_images=config.batch_size)

    Every ``every`` steps, and only there, it looks at the terms, reports, saves if it is time, and stops if it has to: a
    finished time budget, SIGTERM or ctrl-C end the run with a checkpoint; a second ctrl-C ends it at once.

    Args:
        folder: of the run.
        identity: what makes it this run and no other: recipe, seed, and the configuration as a dictionary.
        parts: name to everything that changes during training: modules, optimizers, batches (with ``state_dict`` and
            ``load_state_dict``), and random generators. The global random states of Python, NumPy and PyTorch are added.
        accelerator: of ``accelerate``.
        every: steps between two looks.
        checkpoint_minutes: between two checkpoints; 0 saves at every look.
        max_minutes: of this sitting; None for no limit.
        sample: makes images ``(n, c, h, w)`` in [-1, 1] for the grid that is kept at every checkpoint.
        report: takes a line of text.

    Raises:
        TypeError: for a part whose state cannot be saved, or an ``every`` that is not an integer.
        ValueError: for an ``every`` below 1.
        RunMismatch: if the folder holds another run, or another process is at work on it.
        CheckpointError: if its checkpoints cannot be read.
        TrainingDiverged: while running; the last checkpoint is from before.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        identity: Mapping[str, Any],
        parts: Mapping[str, Any],
        accelerator: Any,
        *,
        every: int = 50,
        checkpoint_minutes: float = 10.0,
        max_minutes: float | None = None,
        sample: Callable[[], Tensor] | None = None,
        report: Callable[[str], None] = print,
    ) -> None:
        check_integer(every, "every", least=1)
        for name, part in parts.items():
            if not isinstance(part, torch.Generator) and not (
                hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
            ):
                raise TypeError(
                    f"expected part {name!r} to be a torch.Generator, or to have state_dict() and load_state_dict(), got "
                    f"{type(part).__name__}; put what does not change into the identity."
                )
        self.folder, self.parts, self.accelerator = Path(folder), dict(parts), accelerator
        self.every, self.checkpoint_minutes, self.max_minutes = every, checkpoint_minutes, max_minutes
        self.sample = sample
        self.report = report if accelerator.is_main_process else lambda line: None
        self.finished = False
        self.step = self.saved_step = 0
        self.seconds = 0.0  # of training, over all sittings
        self._stop_asked = False
        self._names: list[str] = []
        self._sum = self._worst = torch.zeros(0)
        self._count = self._images = 0
        everything = dict(identity) | {"num_processes": accelerator.num_processes}
        self._lock = claim_folder(self.folder, everything, is_main=accelerator.is_main_process)
        accelerator.wait_for_everyone()

    # --- the loop's side ----------------------------------------------------------------------------------------------

    def steps(self, num_steps: int) -> Iterator[int]:
        """Step numbers from the first that is not done to ``num_steps``."""
        self._restore()
        if self.step >= num_steps:
            self.report(f"finished: {self.step:,} steps in {self.folder}")
        elif self.accelerator.is_main_process:
            self._note_sitting()
        started = self._looked = self._saved = time.monotonic()
        while self.step < num_steps:
            self.step += 1
            yield self.step
            last = self.step == num_steps
            if self.step % self.every and not last and not self._alone_and_asked():
                continue
            spent = (time.monotonic() - started) / 60
            stop = self._asked(self.max_minutes is not None and spent >= self.max_minutes)
            self._look(num_steps)
            if last or stop or self._asked(time.monotonic() - self._saved >= 60 * self.checkpoint_minutes):
                self._save()
            if stop and not last:
                self.report(f"stopped after step {self.step:,}; start the same command again to go on.")
                return
        self.finished = True

    def log(self, terms: Mapping[str, Tensor], *, num_images: int) -> None:
        """Take the terms of one step's losses (scalars); costs two small sums on the device and never waits for it."""
        values = torch.stack([term.detach().float() for term in terms.values()])
        if not self._count:
            self._names = list(terms)
            self._sum, self._worst = torch.zeros_like(values), torch.zeros_like(values)
        self._sum += values
        self._worst = torch.maximum(self._worst, values.abs())  # keeps NaN
        self._count += 1
        self._images += num_images * self.accelerator.num_processes

    def __enter__(self) -> Run:
        self._handlers = {}
        for kind in (signal.SIGTERM, signal.SIGINT):
            try:
                self._handlers[kind] = signal.signal(kind, self._ask_to_stop)
            except ValueError:  # signals belong to the main thread
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if hasattr(self, "_events"):
            self._events.close()
        if self._lock is not None:
            self._lock.close()
        if error is not None and not isinstance(error, TrainingDiverged):
            error.add_note(
                f"The run in {self.folder} was at step {self.step:,}; its last checkpoint is of step {self.saved_step:,}. "
                "Start the same command again to go on from there."
            )
            if self.accelerator.num_processes > 1 and isinstance(error, RuntimeError):
                error.add_note(
                    "One of several processes has failed; look at the first error among all their outputs."
                )

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look(self, num_steps: int) -> None:
        """Check and report the terms since the last look."""
        if not self._count:
            return
        self._check_terms()
        means = (self._sum / self._count).tolist()
        now = time.monotonic()
        passed = now - self._looked
        self._looked, self.seconds = now, self.seconds + passed
        rate = self._images / max(passed, 1e-9)
        left = (num_steps - self.step) * passed / self._count
        terms = dict(zip(self._names, means, strict=True))
        self._count = self._images = 0
        shown = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
        self.report(
            f"step {self.step:,} / {num_steps:,} ({self.step / num_steps:.0%})  {rate:,.0f} images/s  "
            f"{_clock(left)} left  {shown}"
        )
        if self.accelerator.is_main_process:
            row = {
                "step": self.step,
                "seconds": round(self.seconds, 2),
                "images_per_second": round(rate, 1),
                **terms,
            }
            with (self.folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            for name, value in (terms | {"images_per_second": rate}).items():
                self._events.add_scalar(name, value, self.step)

    def _check_terms(self) -> None:
        worst = (
            self.accelerator.gather(self._worst[None])
            if self.accelerator.num_processes > 1
            else self._worst[None]
        )
        for name, *values in zip(self._names, *worst.tolist(), strict=True):
            for value in values:
                if not value <= LARGEST_TERM:  # NaN is not below anything
                    raise TrainingDiverged(
                        f"the term {name!r} reached {value:.3g} between steps {self.step - self._count + 1:,} and "
                        f"{self.step:,} (largest allowed: {LARGEST_TERM:g}). The last good checkpoint, of step "
                        f"{self.saved_step:,}, is kept in {self.folder}; lower the learning rate or the term's weight in a "
                        "new run."
                    )

    def _ask_to_stop(self, number: int, frame: Any) -> None:
        self._stop_asked = True
        if number == signal.SIGINT:
            signal.signal(number, self._handlers[signal.SIGINT])

    def _alone_and_asked(self) -> bool:
        return self._stop_asked and self.accelerator.num_processes == 1

    def _asked(self, locally: bool) -> bool:
        """Whether any process wants it, so that all do the same."""
        wanted = locally or self._stop_asked
        if self.accelerator.num_processes == 1:
            return wanted
        votes = self.accelerator.gather(torch.tensor([float(wanted)], device=self.accelerator.device))
        return bool(votes.max() > 0)

    # --- saving and going on ------------------------------------------------------------------------------------------

    def _save(self) -> None:
        state = {name: _state_of(part) for name, part in self.parts.items()}
        for name, tensor in _floating(state):
            if not bool(torch.isfinite(tensor).all()):
                raise TrainingDiverged(
                    f"{name} holds NaN or infinity after step {self.step:,}. The last good checkpoint, of step "
                    f"{self.saved_step:,}, is kept in {self.folder}."
                )
        own = {"parts": {name: state[name] for name in self._per_process()}, "random": random_states()}
        everyone = self._gathered(own)
        if self.accelerator.is_main_process:
            shared = {name: value for name, value in state.items() if name not in self._per_process()}
            whole = {"shared": shared, "processes": everyone, "seconds": self.seconds}
            write_checkpoint(self.folder / "checkpoints", self.step, whole)
        self.saved_step, self._saved = self.step, time.monotonic()
        if self.accelerator.is_main_process and self.sample is not None:
            with undisturbed():
                self._keep_samples(self.sample())
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        found = read_checkpoint(self.folder / "checkpoints", report=self.report)
        if found is not None:
            self.step, state = found
            self.saved_step, self.seconds = self.step, state["seconds"]
            own = state["processes"][self.accelerator.process_index]
            expected, got = set(self.parts), set(state["shared"]) | set(own["parts"])
            if expected != got:
                raise RunMismatch(
                    f"{self.folder}: expected a checkpoint of {sorted(expected)}, got one of {sorted(got)}; it was made with "
                    "other options (precision float16 has a scaler): start with those, or in a new folder."
                )
            for name, part in self.parts.items():
                _restore(part, (state["shared"] | own["parts"])[name])
            set_random_states(own["random"])
            self.report(f"going on after step {self.step:,} in {self.folder}")
        if self.accelerator.is_main_process:
            self._forget_after(self.step)
            writer = require("torch.utils.tensorboard", "train").SummaryWriter
            self._events = writer(str(self.folder / "events"), purge_step=self.step + 1)
        self.accelerator.wait_for_everyone()

    def _per_process(self) -> list[str]:
        """Random generators differ between processes; everything else is the same everywhere."""
        return [name for name, part in self.parts.items() if isinstance(part, torch.Generator)]

    def _gathered(self, value: Any) -> list[Any]:
        if self.accelerator.num_processes == 1:
            return [value]
        gathered: list[Any] = require("accelerate.utils", "train").gather_object([value])
        return gathered

    def _forget_after(self, step: int) -> None:
        """Drop lines of the log that a run wrote after its last checkpoint: they will be written again."""
        path = self.folder / "log.jsonl"
        if path.is_file():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
            replace_text(path, "".join(f"{line}\n" for line in kept))

    def _note_sitting(self) -> None:
        device = self.accelerator.device
        sitting = {
            "from_step": self.step,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "precision": {"bf16": "bfloat16", "fp16": "float16"}.get(
                self.accelerator.mixed_precision, "float32"
            ),
            "torch": torch.__version__,
        }
        with (self.folder / "sittings.jsonl").open("a") as sittings:
            sittings.write(json.dumps(sitting) + "\n")

    def _keep_samples(self, images: Tensor) -> None:
        utils = require("torchvision.utils", "train")
        grid = utils.make_grid((images.float().cpu() + 1) / 2, nrow=max(1, int(len(images) ** 0.5)))
        path = self.folder / "samples" / f"step-{self.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        utils.save_image(grid, path)
        self._events.add_image("samples", grid, self.step)


def _state_of(part: Any) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _restore(part: Any, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)


def _floating(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of floating point in a nested state, with where they are."""
    if isinstance(state, Tensor):
        if state.is_floating_point():
            yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _floating(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from _floating(value, f"{name}.{index}")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
