"""LPIPS diversity against the package lpips, pair by pair, and against Eq. 9-11 written as loops."""

import itertools
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.data.images import data_root
from ndiv_lib.metrics import extract_features, feature_diversity, lpips_diversity
from ndiv_lib.metrics.perceptual import load_backbone

NAMES = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}
HAS_SQUEEZE = (data_root() / "squeezenet1_1" / "squeezenet1_1.pth").is_file()


def draw_images(m=5, side=48, seed=0):
    return 2 * torch.rand(m, 3, side, side, generator=torch.Generator().manual_seed(seed)) - 1


def eq_9(first, second, weights):
    """One pair, position by position; returns the levels. ``weights`` are those of Eq. 9, roots of the released ones."""
    levels = []
    for one, other, weight in zip(first, second, weights, strict=True):
        _, height, width = one.shape
        total = 0.0
        for h, w in itertools.product(range(height), range(width)):
            a, b = one[:, h, w], other[:, h, w]
            total += float((weight * (a / a.norm() - b / b.norm())).norm() ** 2)
        levels.append(total / (height * width))
    return levels


def draw_maps(m, sizes=((3, 4, 2), (5, 2, 2))):
    random = torch.Generator().manual_seed(m)
    maps = [torch.randn(m, *size, generator=random) for size in sizes]
    return maps, [torch.rand(size[0], generator=random) for size in sizes]


@settings(max_examples=10, deadline=None)
@given(m=st.integers(2, 6), batch=st.integers(1, 6))
def test_equals_eq_9_to_11_pair_by_pair(m, batch):
    maps, weights = draw_maps(m)
    roots = [weight.sqrt() for weight in weights]
    images = [[level[j].double() for level in maps] for j in range(m)]
    distance = {pair: eq_9(*(images[j] for j in pair), roots) for pair in itertools.permutations(range(m), 2)}
    in_batches = list(zip(*(level.split(batch) for level in maps), strict=True))
    expected = torch.tensor(list(distance.values()), dtype=torch.float64).mean(0)
    torch.testing.assert_close(feature_diversity(in_batches, weights), expected, rtol=1e-5, atol=1e-9)
    steps = torch.tensor([distance[j, j + 1] for j in range(m - 1)], dtype=torch.float64).mean(0)
    found = feature_diversity(in_batches, weights, pairs="consecutive")
    torch.testing.assert_close(found, steps, rtol=1e-5, atol=1e-9)


def test_collapsed_sets_keep_their_digits():
    maps, weights = draw_maps(1)
    equal = [level.expand(6, -1, -1, -1) for level in maps]
    assert feature_diversity([equal], weights).max() < 1e-12
    near = [
        level + 1e-4 * torch.randn(level.shape, generator=torch.Generator().manual_seed(0)) for level in equal
    ]
    exact = [level.double() for level in near]
    torch.testing.assert_close(
        feature_diversity([near], weights), feature_diversity([exact], weights), rtol=1e-2, atol=0
    )


def by_the_package(images, net, version):
    """lpips.LPIPS with the same backbone, a pair at a time: a dictionary of level values."""
    lpips = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net=net, version=version, pnet_rand=True, verbose=False)
    features = {name.split(".", 1)[1]: name for name in model.net.state_dict()}
    state = load_backbone(net)
    model.net.load_state_dict({name: state[f"features.{key}"] for key, name in features.items()})
    with torch.no_grad():
        return {
            (j, k): torch.stack(model(images[j : j + 1], images[k : k + 1], retPerLayer=True)[1]).flatten()
            for j, k in itertools.combinations(range(len(images)), 2)
        }


@pytest.fixture
def random_weights(tmp_path, monkeypatch):
    """Backbones with weights of no meaning, where the real ones would lie."""
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setenv("NDIV_DATA", str(tmp_path))

    def place(net):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = getattr(models, NAMES[net])(weights=None).state_dict()
        (tmp_path / NAMES[net]).mkdir()
        kept = {name: value for name, value in state.items() if net == "squeeze" or "features" in name}
        torch.save(kept, tmp_path / NAMES[net] / f"{NAMES[net]}.pth")

    return place


def check_against_the_package(net, version):
    images = draw_images()
    levels = by_the_package(images, net, version)
    mean = torch.stack(list(levels.values())).mean(0)
    options = {"net": net, "version": version}
    found = lpips_diversity(images, **options, per_level=True, batch_size=2)
    assert found.shape == (7 if net == "squeeze" else 5,)
    torch.testing.assert_close(found.float(), mean, rtol=1e-4, atol=1e-5)
    assert lpips_diversity(images, **options) == pytest.approx(float(mean.sum()), abs=1e-5)
    steps = torch.stack([levels[j, j + 1].sum() for j in range(len(images) - 1)])
    assert lpips_diversity(images, **options, pairs="consecutive") == pytest.approx(
        float(steps.mean()), abs=1e-5
    )
    of_pairs = 2 * sum(float(level.sum()) for level in levels.values())
    assert lpips_diversity(images, **options, reduction="sum") == pytest.approx(of_pairs, rel=1e-4)
    of_steps = lpips_diversity(images, **options, pairs="consecutive", reduction="sum")
    assert of_steps == pytest.approx(float(steps.sum()), rel=1e-4)


@pytest.mark.parametrize(("net", "version"), [("alex", "0.1"), ("squeeze", "0.1"), ("squeeze", "0.0")])
def test_equals_the_package_with_a_backbone_of_random_weights(net, version, random_weights):
    random_weights(net)
    check_against_the_package(net, version)


@pytest.mark.skipif(not HAS_SQUEEZE, reason=f"no SqueezeNet weights under {data_root()}")
def test_equals_the_package_with_squeezenet():
    check_against_the_package("squeeze", "0.1")


@pytest.mark.skipif(not HAS_SQUEEZE, reason=f"no SqueezeNet weights under {data_root()}")
def test_squeezenet_features_are_the_last_maps_averaged():
    images = draw_images(3)
    vectors = extract_features(images, "squeezenet", batch_size=2)
    assert vectors.shape == (3, 512)
    torch.testing.assert_close(vectors[2:], extract_features(images[2:], "squeezenet"))


def test_missing_weights_say_where_they_go(tmp_path, monkeypatch):
    pytest.importorskip("torchvision")
    monkeypatch.setenv("NDIV_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"alexnet.pth or .*alexnet-owt.*save https"):
        lpips_diversity(draw_images())


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (draw_images(1), {}, "at least 2 images"),
        (draw_images()[:, :1], {}, "repeat a gray channel"),
        (draw_images(side=16), {}, "at least 31 pixels"),
        (127 * (draw_images() + 1), {}, r"\[-1, 1\]"),
        (draw_images() * torch.nan, {}, r"\[-1, 1\]"),
        (draw_images(), {"net": "resnet"}, "'alex', 'squeeze', 'vgg'"),
        (draw_images(), {"version": "0.2"}, "version"),
        (draw_images(), {"pairs": "random"}, "pairs"),
        (draw_images(), {"reduction": "median"}, "reduction"),
    ],
)
def test_bad_input(images, options, message):
    with pytest.raises(ValueError, match=message):
        lpips_diversity(images, **options)


def test_bad_feature_maps():
    maps, weights = draw_maps(2)
    with pytest.raises(ValueError, match="one for each weight"):
        feature_diversity([maps], weights[:1])
    with pytest.raises(ValueError, match="at least 2 images"):
        feature_diversity([[level[:1] for level in maps]], weights)
    with pytest.raises(TypeError, match="floating"):
        lpips_diversity(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
