"""Algorithm 1 of cGML around any encoder, generator and predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ndiv_lib._checks import (
    check_choice,
    check_finite,
    check_integer,
    check_positive,
    check_same_device,
    check_tensor,
)
from ndiv_lib.cgml.inference import check_on_sphere, infer
from ndiv_lib.cgml.updates import (
    check_costs,
    draw_latents,
    generator_loss,
    latent_step,
    momentum,
    predictor_loss,
    project,
)


@dataclass(frozen=True)
class StepReport:
    """What one :meth:`LatentSearch.training_step` did."""

    costs: Tensor  # (steps + 1,) mean over samples: where the search began, after every step, before the generator's update
    predictor_loss: Tensor  # mean over the steps of the search
    latents: Tensor  # (b, dz) found; hand them to the next visit of the same samples to keep them


class LatentSearch(nn.Module):
    r"""Encoder H, generator G and predictor Z that learn to walk a latent to one of several answers (cGML, Sec. 2 and 3).

    Training searches, for every sample, the latent that makes G reproduce its target; G and H learn from the latent found, Z
    learns to predict the search from the input alone. At inference Z walks fresh latents, and where a walk ends depends on
    where it starts.

    Args:
        encoder: ``encoder(inputs)`` gives the features: a tensor, or a tuple of tensors (code and skips).
        generator: ``generator(features, latents)`` gives outputs ``(b, ...)``.
        predictor: ``predictor(features, latents)`` gives ``(b, dz + 1)``: next latent and momentum.
        latent_dim: dz >= 1 (>= 2 on a sphere). The paper's 10, 16, 32, 64 go with images of 32, 64, 128, 256 pixels.
        cost: ``cost(outputs, targets)`` gives one number per sample ``(b)``; L1 in the paper.
        latent: ``"sphere"`` (the paper's, projected after every step) or ``"interval"`` (starts in [-1, 1], free to leave).
        steps: latent steps for each batch, and at inference; 20 in the paper.
        step_size: beta > 0, not printed. ``steps * step_size`` times the gradient must reach from one code to another.
        step_decay: factor of the step size after each step, in (0, 1]; below 1 the momentum fades at the codes.
        momentum_scale: alpha > 0 of the momentum, not printed.
        predictor_norm: ``"l1"`` as printed (medians) or ``"l2"`` (expectations).
        penalty_weight: weight >= 0 of the penalty on noise (App. 2.4), not printed. At 1, the toy's generator may ignore z.
        noise_std: standard deviation > 0 of that noise, not printed.

    Raises:
        TypeError: for arguments of another type; and, when called, for integers that the encoder does not take.
        ValueError: for arguments out of their ranges; and, when called, for shapes or devices that do not fit, latents off the
            sphere, a predictor of the wrong width, costs that are not finite or not one per sample, or (looked for on the CPU
            only) inputs or walks that are not finite.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> class Joined(nn.Sequential):
        ...     def forward(self, features, latents):
        ...         return super().forward(torch.cat([features, latents], dim=-1))
        >>> search = LatentSearch(
        ...     nn.Linear(1, 8), Joined(nn.Linear(9, 3)), Joined(nn.Linear(9, 2)), latent_dim=1, latent="interval",
        ...     cost=lambda outputs, targets: (outputs - targets).abs().mean(1), step_size=0.1,
        ... )
        >>> adam = torch.optim.Adam(search.parameters())
        >>> report = search.training_step(torch.rand(32, 1), torch.randn(32, 3), adam)
        >>> outputs, latents, trajectory = search.infer(torch.rand(32, 1), num_samples=4)
        >>> outputs.shape, trajectory.shape
        (torch.Size([32, 4, 3]), torch.Size([21, 32, 4, 1]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        predictor: nn.Module,
        *,
        latent_dim: int,
        cost: Callable[[Tensor, Any], Tensor],
        latent: Literal["sphere", "interval"] = "sphere",
        steps: int = 20,
        step_size: float = 0.1,
        step_decay: float = 1.0,
        momentum_scale: float = 1.0,
        predictor_norm: Literal["l1", "l2"] = "l1",
        penalty_weight: float = 0.1,
        noise_std: float = 0.05,
    ) -> None:
        super().__init__()
        check_choice(latent, "latent", ("sphere", "interval"))
        check_choice(predictor_norm, "predictor_norm", ("l1", "l2"))
        check_integer(steps, "steps", least=1)
        check_integer(latent_dim, "latent_dim")
        check_positive(step_size, "step_size")
        check_positive(momentum_scale, "momentum_scale")
        check_positive(noise_std, "noise_std")
        check_positive(penalty_weight, "penalty_weight", allow_zero=True)
        check_positive(step_decay, "step_decay")
        if step_decay > 1:
            raise ValueError(f"expected step_decay in (0, 1], got {step_decay}.")
        if latent_dim < (2 if latent == "sphere" else 1):
            raise ValueError(
                f"expected latent_dim >= {2 if latent == 'sphere' else 1} for latent={latent!r}, got {latent_dim}."
            )
        self.encoder, self.generator, self.predictor = encoder, generator, predictor
        self.latent_dim, self.cost, self.steps = latent_dim, cost, steps
        self.latent: Literal["sphere", "interval"] = latent
        self.predictor_norm: Literal["l1", "l2"] = predictor_norm
        self.step_size, self.step_decay, self.momentum_scale = step_size, step_decay, momentum_scale
        self.penalty_weight, self.noise_std = penalty_weight, noise_std

    def forward(self, inputs: Tensor, latents: Tensor) -> Tensor:
        """Outputs ``(b, ...)`` for inputs and latents ``(b, dz)`` that are given: no search."""
        outputs: Tensor = self.generator(self._encode(inputs), latents)
        return outputs

    def training_step(
        self,
        inputs: Tensor,
        targets: Any,
        optimizer: torch.optim.Optimizer,
        *,
        latents: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> StepReport:
        """Algorithm 1 on one batch: ``steps`` latent and predictor updates, then one update of generator and encoder.

        The algorithm as printed has the last update inside the loop as well; App. 3.1 says once in 20 latent updates, and
        that is done here. Networks that are frozen are in eval mode: with batch norm, one sample's step would otherwise
        depend on its neighbors.

        Args:
            inputs: ``(b, ...)``.
            targets: ``(b, ...)``: one answer for each input, whichever the data hold. Handed to the cost as they are, which may
                want more than a tensor.
            optimizer: over the parameters of all three networks. Each update leaves the other networks' gradients None.
            latents: ``(b, dz)`` where the search starts; None draws new ones. The paper does not say whether a sample keeps
                its latent from epoch to epoch: keep them by handing in the ones that the last report had.
            generator: source of the latents and of the penalty's noise, on the device of the inputs.

        Returns:
            Costs, the predictor's loss, and the latents found.
        """
        check_tensor(inputs, "inputs")
        check_finite(inputs, "inputs")
        if isinstance(targets, Tensor):
            check_same_device(inputs=inputs, targets=targets)
            if len(targets) != len(inputs):
                raise ValueError(f"expected one target for each of {len(inputs)} inputs, got {len(targets)}.")
        if latents is None:
            latents = self.draw_latents(len(inputs), inputs, generator)
        check_same_device(inputs=inputs, latents=latents)
        if latents.shape != (len(inputs), self.latent_dim):
            raise ValueError(
                f"expected latents (inputs, latent_dim) = {(len(inputs), self.latent_dim)}, got {tuple(latents.shape)}."
            )
        check_on_sphere(latents, self.latent)
        seen: list[Tensor] = []

        def cost(z: Tensor) -> Tensor:
            costs = self.cost(self.generator(features, z), targets)
            seen.append(costs.detach().mean())
            return costs

        # The generator rests while the latents move, so that the whole search can go before the predictor's updates.
        searched = [latents.detach()]
        with evaluating(self.encoder, self.generator):
            with torch.no_grad():
                features = self._encode(inputs)
            for step in range(self.steps):
                searched.append(
                    latent_step(
                        cost,
                        searched[-1],
                        step_size=self.step_size * self.step_decay**step,
                        project=lambda z: project(z, self.latent),
                    )
                )

        predictor_losses = []
        for before, after in pairwise(searched):
            prediction = self.predictor(features, before)
            loss = predictor_loss(
                prediction,
                after,
                momentum(before, after, scale=self.momentum_scale),
                norm=self.predictor_norm,
                noisy=self._disturbed(self.predictor, features, before, generator),
                penalty_weight=self.penalty_weight,
            )
            _descend(optimizer, loss)
            predictor_losses.append(loss.detach())

        found = searched[-1]
        features = self._encode(inputs)
        outputs = self.generator(features, found)
        costs = self.cost(outputs, targets)
        check_costs(costs, found)
        _descend(
            optimizer,
            generator_loss(
                costs,
                outputs=outputs,
                noisy=self._disturbed(self.generator, features, found, generator),
                penalty_weight=self.penalty_weight,
            ),
        )
        seen.append(costs.detach().mean())
        return StepReport(torch.stack(seen), torch.stack(predictor_losses).mean(), found)

    def _disturbed(
        self, network: nn.Module, features: Any, latents: Tensor, generator: torch.Generator | None
    ) -> Tensor | None:
        """A network's output for features and latents with a little noise, if the penalty counts (App. 2.4)."""
        if not self.penalty_weight:
            return None

        def disturb(tensor: Tensor) -> Tensor:
            noise = torch.randn(tensor.shape, generator=generator, device=tensor.device, dtype=tensor.dtype)
            return tensor + self.noise_std * noise

        outputs: Tensor = network(tree_map(disturb, features), disturb(latents))
        return outputs

    @torch.no_grad()
    def infer(
        self,
        inputs: Tensor,
        *,
        num_samples: int = 1,
        rule: Literal["hybrid", "plain", "momentum"] = "hybrid",
        steps: int | None = None,
        latents: Tensor | None = None,
        generator: torch.Generator | None = None,
        check_values: bool | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Several answers to every input, each from a walk of its own; see :func:`ndiv_lib.cgml.infer`.

        Args:
            inputs: ``(b, ...)``.
            num_samples: answers to each input, at least 1.
            rule: see :func:`ndiv_lib.cgml.infer`.
            steps: number of steps; None takes those of the training.
            latents: ``(b, num_samples, dz)`` where the walks start; None draws them.
            generator: source of those draws.
            check_values: whether to look for inputs and walks that are not finite; None does so on the CPU.

        Returns:
            Outputs ``(b, num_samples, ...)``, latents ``(b, num_samples, dz)`` and trajectory
            ``(steps + 1, b, num_samples, dz)``.
        """
        check_tensor(inputs, "inputs")
        check_finite(inputs, "inputs", check_values=check_values)
        check_integer(num_samples, "num_samples", least=1)
        b, shape = len(inputs), (len(inputs), num_samples, self.latent_dim)
        if latents is None:
            latents = self.draw_latents(b * num_samples, inputs, generator).unflatten(0, shape[:2])
        if latents.shape != shape:
            raise ValueError(
                f"expected latents (inputs, num_samples, latent_dim) = {shape}, got {tuple(latents.shape)}."
            )
        check_same_device(inputs=inputs, latents=latents)
        with evaluating(self):
            features = tree_map(lambda h: h.repeat_interleave(num_samples, 0), self._encode(inputs))
            found, trajectory = infer(
                self.predictor,
                features,
                latents.flatten(0, 1),
                rule=rule,
                steps=self.steps if steps is None else steps,
                latent=self.latent,
                check_values=check_values,
            )
            outputs = self.generator(features, found)
        return (
            outputs.unflatten(0, shape[:2]),
            found.unflatten(0, shape[:2]),
            trajectory.unflatten(1, shape[:2]),
        )

    def _encode(self, inputs: Tensor) -> Any:
        """The encoder's features; an encoder may take integers (an embedding does), but most do not."""
        try:
            return self.encoder(inputs)
        except RuntimeError as error:
            if inputs.is_floating_point():
                raise
            raise TypeError(
                f"expected inputs that the encoder takes, got {inputs.dtype}; convert them with .float()."
            ) from error

    def draw_latents(self, num_latents: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fresh latents ``(num_latents, dz)`` on the device and in the precision of ``like``."""
        drawn = draw_latents(num_latents, self.latent_dim, latent=self.latent, generator=generator)
        return drawn.to(like.device, like.dtype if like.is_floating_point() else None)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update; parameters that the loss does not reach have no gradient, so the optimizer leaves them alone."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Set modules to eval mode, and every part of them back to what it was at the end."""
    before = {part: part.training for module in modules for part in module.modules()}
    try:
        for module in modules:
            module.eval()
        yield
    finally:
        for part, training in before.items():
            part.training = training
