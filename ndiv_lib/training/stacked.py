"""Many small networks trained as one tensor program.

Ten seeds of a toy are ten networks of a few thousand weights; one by one they spend their time starting kernels. Here the
seeds are one leading dimension. Each model has its own random generator and its own weights, nothing mixes, so that k
stacked models are k separate runs (up to rounding).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.models.mlp import MLP


class StackedMLP(nn.Module):
    """k multilayer perceptrons of one shape, as batched products.

    Args:
        sizes: widths from input to output.
        generators: one source of initial weights per model; each draws what :class:`~ndiv_lib.models.MLP` draws.
        negative_slope: slope of the rectifiers below zero.

    Example:
        >>> import torch
        >>> generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
        >>> StackedMLP([2, 8, 1], generators)(torch.zeros(3, 5, 2)).shape
        torch.Size([3, 5, 1])
    """

    def __init__(
        self, sizes: Sequence[int], generators: Sequence[torch.Generator], *, negative_slope: float = 0.1
    ) -> None:
        super().__init__()
        models = [MLP(sizes, negative_slope=negative_slope, generator=generator) for generator in generators]
        linear = [[layer for layer in model if isinstance(layer, nn.Linear)] for model in models]
        layers = list(zip(*linear, strict=True))
        self.sizes, self.negative_slope = list(sizes), negative_slope
        self.weights = nn.ParameterList(
            torch.stack([layer.weight.detach().T for layer in same]) for same in layers
        )
        self.biases = nn.ParameterList(
            torch.stack([layer.bias.detach() for layer in same])[:, None] for same in layers
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``(k, n, sizes[0])`` to ``(k, n, sizes[-1])``, model by model."""
        *hidden, (last_weight, last_bias) = self._layers()
        for weight, bias in hidden:
            inputs = F.leaky_relu(torch.baddbmm(bias, inputs, weight), self.negative_slope)
        return torch.baddbmm(last_bias, inputs, last_weight)

    def with_input_gradient(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs ``(k, n, 1)`` and their gradients with respect to the inputs ``(k, n, sizes[0])``.

        For a piecewise linear network the gradient is a product of weights and slopes, so a gradient penalty costs one more
        chain of products instead of a second backward pass through the first.
        """
        slopes = []
        *hidden, (last_weight, last_bias) = self._layers()
        for weight, bias in hidden:
            before = torch.baddbmm(bias, inputs, weight)
            slopes.append(torch.where(before > 0, 1.0, self.negative_slope))
            inputs = before * slopes[-1]
        outputs = torch.baddbmm(last_bias, inputs, last_weight)
        gradient = last_weight.mT.expand(-1, inputs.shape[1], -1)
        for (weight, _), slope in zip(reversed(hidden), reversed(slopes), strict=True):
            gradient = (gradient * slope) @ weight.mT
        return outputs, gradient

    def _layers(self) -> list[tuple[Tensor, Tensor]]:
        # Not slices: a slice of a ParameterList makes new parameters, which functional_call would miss.
        return list(zip(self.weights, self.biases, strict=True))

    def unstack(self, index: int) -> MLP:
        """One of the models as an ordinary :class:`~ndiv_lib.models.MLP`."""
        model = MLP(self.sizes, negative_slope=self.negative_slope)
        layers = [layer for layer in model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, self.weights, self.biases, strict=True):
                layer.weight.copy_(weight[index].T)
                layer.bias.copy_(bias[index, 0])
        return model


class StackedDraws:
    """Random draws for k stacked models, each from its own generator, so that a model's run does not depend on its neighbors.

    Args:
        seeds: one per model.
        stream: separates independent uses of the same seed (data, weights, training, evaluation).

    Example:
        >>> StackedDraws([0, 1]).rand(5, 2).shape
        torch.Size([2, 5, 2])
    """

    def __init__(self, seeds: Sequence[int], *, stream: int = 0) -> None:
        self.generators = [torch.Generator().manual_seed(1_000_003 * stream + seed) for seed in seeds]

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1): ``(k, *shape)``."""
        return torch.stack([torch.rand(shape, generator=generator) for generator in self.generators])

    def randn(self, *shape: int) -> Tensor:
        """Standard normal: ``(k, *shape)``."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators])

    def randint(self, high: int, *shape: int) -> Tensor:
        """Integers below ``high``: ``(k, *shape)``."""
        return torch.stack([torch.randint(high, shape, generator=generator) for generator in self.generators])

    def batch(self, data: Tensor, size: int) -> Tensor:
        """``size`` rows of each model's data ``(k, n, d)``, with replacement: ``(k, size, d)``."""
        index = self.randint(data.shape[1], size)
        return data.gather(1, index[..., None].expand(-1, -1, data.shape[-1]))
