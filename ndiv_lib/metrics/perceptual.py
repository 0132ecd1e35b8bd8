"""LPIPS diversity: how far apart a set's images are to a network that has learned to see (HMGAN, Eq. 9-11)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, require
from ndiv_lib.data.images import data_root

Pairs = Literal["all", "consecutive"]

# LPIPS's name: torchvision's name, its weights, and the smallest side of an image that passes through all levels.
_BACKBONES = {
    "alex": ("alexnet", "AlexNet_Weights", 31),
    "squeeze": ("squeezenet1_1", "SqueezeNet1_1_Weights", 17),
    "vgg": ("vgg16", "VGG16_Weights", 16),
}


def lpips_diversity(
    images: Tensor,
    *,
    net: Literal["alex", "squeeze", "vgg"] = "alex",
    version: Literal["0.1", "0.0"] = "0.1",
    pairs: Pairs = "all",
    per_level: bool = False,
    reduction: Literal["mean", "sum"] = "mean",
    batch_size: int = 32,
) -> float | Tensor:
    r"""LPIPS over the pairs of a set of images, each of which passes through the network once (HMGAN, Eq. 9-11).

    The distance of two images (Zhang et al. 2018) weighs squared differences of unit-length features, averages them over
    positions and adds up the levels of the network. Eq. 9 writes :math:`\|w \odot (\cdot)\|^2`, as LPIPS's own paper does; the
    released weights multiply the squares, so that the :math:`w` of Eq. 9 is their root. Eq. 9 leaves out the unit length.

    The number has no meaning of its own: state network, version, pairs, size of the images, and the same number for real ones.
    For outputs of one condition, call it once for each condition and average.

    Args:
        images: ``(m, 3, height, width)`` RGB in [-1, 1], m >= 2.
        net: backbone, as in the package ``lpips``. Its weights are looked for under ``$NDIV_DATA`` (``alexnet/alexnet.pth`` and
            so on) and in torch's cache; nothing is downloaded.
        version: of LPIPS's own weights; "0.0" has another scale, and numbers of different versions cannot be compared.
        pairs: ``"all"``, or ``"consecutive"`` for the m - 1 pairs of neighbors, the protocol of BicycleGAN's released code.
        per_level: return the levels' parts (Eq. 11) and not their sum.
        reduction: ``"mean"`` over pairs, which the paper's tables must be, or ``"sum"``, which Eq. 10 prints: over all ordered
            pairs m (m - 1) times the mean.
        batch_size: images at a time.

    Returns:
        A number >= 0; with ``per_level`` a tensor ``(num_levels,)``, from fine to coarse: 5 levels for "alex" and "vgg", 7 for
        "squeeze".

    Raises:
        TypeError: for images that are not floating point.
        ValueError: for another shape, images that are too small or outside of [-1, 1], or an unknown option.
        FileNotFoundError: without the backbone's weights; it says where to put them.
        ImportError: without lpips or torchvision (extra ``metrics``).

    Example:
        >>> lpips_diversity(torch.rand(4, 3, 64, 64), net="squeeze")  # doctest: +SKIP
        0.31
    """
    check_choice(net, "net", _BACKBONES)
    check_choice(version, "version", ("0.1", "0.0"))
    check_choice(reduction, "reduction", ("mean", "sum"))
    check_choice(pairs, "pairs", ("all", "consecutive"))
    check_images(images, min_side=_BACKBONES[net][2])
    if len(images) < 2:
        raise ValueError(f"expected at least 2 images to compare, got {len(images)}.")
    model = _load_lpips(net, version).to(images.device)

    @torch.no_grad()
    def levels(batch: Tensor) -> list[Tensor]:
        found: list[Tensor] = model.net(model.scaling_layer(batch) if version == "0.1" else batch)
        return found

    weights = [head.model[-1].weight.detach().flatten() for head in model.lins]
    batches = (levels(batch.float()) for batch in images.detach().split(batch_size))
    diversity = feature_diversity(batches, weights, pairs=pairs)
    if reduction == "sum":
        diversity = diversity * (len(images) * (len(images) - 1) if pairs == "all" else len(images) - 1)
    return diversity if per_level else float(diversity.sum())


def feature_diversity(
    batches: Iterable[Sequence[Tensor]], weights: Sequence[Tensor], *, pairs: Pairs = "all"
) -> Tensor:
    r"""LPIPS's mean over pairs, level by level, from the feature maps of any network.

    Features get unit length at every position. Their mean squared distance over all pairs is twice their variance,

    .. math:: \frac{1}{m (m - 1)} \sum_{j \ne k} \|u_j - u_k\|^2 = \frac{2}{m - 1} \sum_j \|u_j - \bar u\|^2,

    so that no pair is ever formed, and memory does not grow with the number of images.

    Args:
        batches: for each batch of images the list of its feature maps, ``(b, channels_l, height_l, width_l)``.
        weights: for each level ``(channels_l,)``: what multiplies the channels' squared differences.
        pairs: ``"all"``, or ``"consecutive"``.

    Returns:
        ``(num_levels,)``, float64.

    Raises:
        ValueError: for fewer than two images, or another number of levels than of weights.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[1.0, 0.0], [0.0, 2.0]])[:, :, None, None]  # two images, one position
        >>> feature_diversity([[maps]], [torch.ones(2)])
        tensor([2.], dtype=torch.float64)
    """
    check_choice(pairs, "pairs", ("all", "consecutive"))
    count = 0
    sums: list[Any] = [0.0] * len(weights)
    squares = torch.zeros(
        len(weights), dtype=torch.float64
    )  # of features, or of steps from one image to the next
    last: list[Any] = [None] * len(weights)
    for maps in batches:
        if len(maps) != len(weights):
            raise ValueError(f"expected {len(weights)} feature maps, one for each weight, got {len(maps)}.")
        count += len(maps[0])
        for level, (one, weight) in enumerate(zip(maps, weights, strict=True)):
            features = _weighed(one, weight)
            if pairs == "all":
                sums[level] = sums[level] + features.sum(0)
                squares[level] += features.square().sum().cpu()
            else:
                row = features if last[level] is None else torch.cat([last[level], features])
                squares[level] += row.diff(dim=0).square().sum().cpu()
                last[level] = features[-1:]
    if count < 2:
        raise ValueError(f"expected at least 2 images to compare, got {count}.")
    if pairs == "consecutive":
        return squares / (count - 1)
    of_mean = torch.stack([total.square().sum().cpu() for total in sums]) / count
    return 2 * (squares - of_mean).clamp(min=0) / (count - 1)  # float64 leaves only rounding below 0


def _weighed(maps: Tensor, weight: Tensor) -> Tensor:
    """Unit length at every position as in lpips, scaled so that LPIPS is a squared Euclidean distance: ``(b, c h w)``."""
    lengths = maps.square().sum(1, keepdim=True).sqrt() + 1e-10
    scale = (weight.double() / (maps.shape[2] * maps.shape[3])).sqrt()
    return ((maps / lengths).double() * scale[:, None, None]).flatten(1)


def check_images(images: Tensor, *, min_side: int = 1) -> None:
    """Raise unless ``images`` are floating-point RGB ``(n, 3, height, width)`` in [-1, 1], sides at least ``min_side``."""
    check_floating(images, "images")
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"expected RGB images (n, 3, height, width), got shape {tuple(images.shape)}; "
            "repeat a gray channel with images.expand(-1, 3, -1, -1)."
        )
    if min(images.shape[2:]) < min_side:
        raise ValueError(
            f"expected sides of at least {min_side} pixels for this network, got {tuple(images.shape[2:])}; enlarge the images."
        )
    low, high = (float(end) for end in images.detach().aminmax()) if images.numel() else (0.0, 0.0)
    if not (low >= -1.001 and high <= 1.001):  # also for NaN
        raise ValueError(
            f"expected images in [-1, 1], got values from {low:.3g} to {high:.3g}; scale bytes by 1/127.5 and subtract 1."
        )


def load_backbone(net: Literal["alex", "squeeze", "vgg"]) -> dict[str, Tensor]:
    """The state dict of a backbone trained on ImageNet, from ``$NDIV_DATA`` or torch's cache; never from the network.

    Raises:
        FileNotFoundError: if it is in neither place; it says what to do.
    """
    models: Any = require("torchvision.models", "metrics")
    name, weights, _ = _BACKBONES[net]
    url = models.get_weight(f"{weights}.IMAGENET1K_V1").url
    places = [data_root() / name / f"{name}.pth", Path(torch.hub.get_dir(), "checkpoints", Path(url).name)]
    for place in places:
        if place.is_file():
            state: dict[str, Tensor] = torch.load(place, map_location="cpu", weights_only=True)
            return state
    raise FileNotFoundError(
        f"expected the weights of {name} at {places[0]} or {places[1]}; save {url} there, or run "
        f"torchvision.models.{name}(weights='IMAGENET1K_V1') once where there is a network."
    )


def _load_lpips(net: Literal["alex", "squeeze", "vgg"], version: str) -> Any:
    """LPIPS with its released weights on a pretrained backbone."""
    lpips: Any = require("lpips", "metrics")
    state = load_backbone(net)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")  # lpips's old arguments
        model = lpips.LPIPS(net=net, version=version, pnet_rand=True, verbose=False)
    # lpips cuts torchvision's `features` into slices and keeps the numbers of the layers.
    here = {name.split(".", 1)[1]: name for name in model.net.state_dict()}
    there = {name.removeprefix("features."): value for name, value in state.items()}
    model.net.load_state_dict({name: there[number] for number, name in here.items()})
    return model.eval()
