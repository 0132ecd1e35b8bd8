"""Fréchet and kernel distances against closed forms, scipy's matrix root and double loops."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.metrics import extract_features, frechet_distance, kernel_distance


def draw(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_matrix_root(real, generated):
    """The definition with scipy's sqrtm, which has half of the digits where covariances are singular."""
    linalg = pytest.importorskip("scipy.linalg")
    first, second = (torch.cov(rows.T).numpy() for rows in (real, generated))
    root = linalg.sqrtm(first @ second)
    mean = (real.mean(0) - generated.mean(0)).square().sum().item()
    return mean + first.trace() + second.trace() - 2 * root.real.trace()


@pytest.mark.parametrize(("n", "m", "d"), [(40, 50, 5), (200, 100, 30), (31, 31, 30)])
def test_equals_the_definition_with_a_matrix_root(n, m, d):
    mix = draw(d, d, seed=3)
    real, generated = draw(n, d) @ mix, draw(m, d, seed=1) + 0.3
    found = frechet_distance(real=real, generated=generated, features="pixels")
    assert found == pytest.approx(by_matrix_root(real, generated), rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 12), d=st.integers(1, 20), scale=st.floats(0.1, 4), shift=st.floats(-5, 5))
def test_closed_forms(n, d, scale, shift):
    """Moved by a vector and scaled around the mean, also with fewer samples than dimensions."""
    real = draw(n, d)
    mean = real.mean(0)
    generated = mean + shift + scale * (real - mean)
    expected = d * shift**2 + (1 - scale) ** 2 * float(real.var(0).sum())
    found = frechet_distance(real=real, generated=generated, features="pixels")
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_singular_covariances_keep_their_digits():
    """Rank 5 in 40 dimensions: with itself the distance is rounding, where the matrix root leaves 1e-7 of the variance."""
    real = draw(100, 5) @ draw(5, 40, seed=1)
    assert frechet_distance(real=real, generated=real.flip(0), features="pixels") < 1e-12 * real.var(0).sum()


def test_symmetric_and_blind_to_rotation():
    real, generated = draw(60, 6), 2 * draw(50, 6, seed=1) + 1
    turn = torch.linalg.qr(draw(6, 6, seed=2)).Q
    forward = frechet_distance(real=real, generated=generated, features="pixels")
    assert forward == pytest.approx(frechet_distance(real=generated, generated=real, features="pixels"))
    turned = frechet_distance(real=real @ turn, generated=generated @ turn, features="pixels")
    assert turned == pytest.approx(forward)


def test_frechet_is_biased_by_one_over_n_and_the_kernel_distance_is_not():
    frechet, kernel = {}, {}
    for n in (50, 200):
        pairs = [(draw(n, 10, seed=2 * s), draw(n, 10, seed=2 * s + 1)) for s in range(60)]
        sets = [{"real": a, "generated": b, "features": "pixels"} for a, b in pairs]
        frechet[n] = sum(frechet_distance(**one) for one in sets) / 60
        scores = torch.tensor([kernel_distance(**one) for one in sets])
        kernel[n] = float(scores.mean() / (scores.std() / 60**0.5))
    assert frechet[50] / frechet[200] == pytest.approx(4, rel=0.15)
    assert all(abs(standard_scores) < 3 for standard_scores in kernel.values())


def test_kernel_distance_equals_the_double_loop():
    real, generated = draw(7, 3), draw(5, 3, seed=1) + 1

    def mean(first, second, skip):
        values = [
            float(x @ y / 3 + 1) ** 3
            for i, x in enumerate(first)
            for j, y in enumerate(second)
            if not (skip and i == j)
        ]
        return sum(values) / len(values)

    expected = mean(real, real, True) + mean(generated, generated, True) - 2 * mean(real, generated, False)
    found = kernel_distance(real=real, generated=generated, features="pixels")
    assert found == pytest.approx(expected, rel=1e-10)


def test_subsets_are_seeded_and_estimate_the_same():
    arguments = {"real": draw(200, 4), "generated": draw(200, 4, seed=1) + 0.5, "features": "pixels"}
    subsets = arguments | {"subset_size": 50, "num_subsets": 50}
    first = kernel_distance(**subsets, seed=0)
    assert first == kernel_distance(**subsets, seed=0) != kernel_distance(**subsets, seed=1)
    assert first == pytest.approx(kernel_distance(**arguments), rel=0.15)


def test_features_are_called_in_batches_without_gradients():
    sizes = []

    def features(batch):
        sizes.append(len(batch))
        return batch.mean((2, 3))

    images = torch.rand(150, 3, 4, 4, requires_grad=True)
    vectors = extract_features(images, features)
    assert sizes == [64, 64, 22] and not vectors.requires_grad
    torch.testing.assert_close(vectors, images.mean((2, 3)).detach())
    assert frechet_distance(real=images, generated=images, features=features) < 1e-12


def test_inception_comes_from_torch_fidelity_and_its_file(tmp_path, monkeypatch):
    """Without the weights it says where they go; with them images arrive as the bytes that FID is defined on."""
    monkeypatch.setenv("NDIV_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    images = torch.linspace(-1, 1, 4 * 3 * 8 * 8).view(4, 3, 8, 8)
    with pytest.raises(FileNotFoundError, match=r"weights-inception.*it is not FID"):
        frechet_distance(real=images, generated=images, features="inception")

    (tmp_path / "inception").mkdir()
    (tmp_path / "inception" / "weights-inception-2015-12-05-6726825d.pth").touch()
    for name in ("torch_fidelity", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ImportError, match="torch_fidelity"):
        frechet_distance(real=images, generated=images, features="inception")

    class Extractor(torch.nn.Module):
        def __init__(self, name, layers, path):
            super().__init__()
            assert layers == ["2048"] and path.endswith("6726825d.pth")

        def forward(self, batch):
            assert batch.dtype == torch.uint8
            return (batch.flatten(1)[:, :5].float(),)

    package = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    package.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace())
    monkeypatch.setitem(sys.modules, package.__name__, package)
    vectors = extract_features(images, "inception")
    assert vectors[0, 0] == 0
    assert frechet_distance(real=images, generated=images, features="inception") < 1e-9


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"generated": torch.rand(1, 3, 32, 32)}, ValueError, "at least 2 generated"),
        ({"generated": torch.rand(6, 3, 32, 31)}, ValueError, "one shape"),
        (
            {"generated": torch.full((6, 3, 32, 32), torch.nan)},
            ValueError,
            "finite generated",
        ),
        (
            {"features": lambda batch: batch.flatten(1).log() - torch.inf},
            ValueError,
            "finite features of the real",
        ),
        ({"real": torch.ones(6, 3, 32, 32).long()}, TypeError, "floating"),
        ({"features": "resnet"}, ValueError, "'pixels', 'squeezenet', 'efficientnet', 'inception'"),
        ({"features": lambda batch: batch}, ValueError, "flatten or pool"),
        ({"features": "squeezenet", "real": torch.rand(6, 1, 32, 32)}, ValueError, "one shape"),
        ({"features": "squeezenet", "real": 3 * torch.rand(6, 3, 32, 32)}, ValueError, r"\[-1, 1\]"),
    ],
)
@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_bad_input(distance, change, error, message):
    images = torch.rand(6, 3, 32, 32)
    with pytest.raises(error, match=message):
        distance(**{"real": images, "generated": images, "features": "pixels"} | change)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degree": 0}, "degree"),
        ({"subset_size": 3}, "a seed"),
        ({"subset_size": 7, "seed": 0}, "from 2 to 6"),
        ({"num_subsets": 0}, "num_subsets"),
    ],
)
def test_bad_options_of_the_kernel_distance(options, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(real=draw(6, 2), generated=draw(6, 2), features="pixels", **options)
