"""The normalized diversity loss against independent references and the identities that define it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import ndiv_lib as nd


def by_loop(latents, outputs, alpha):
    """Eq. 3 and 4 with Algorithm 1's loop, index by index, as printed."""

    def norm_dist(q):
        n = len(q)
        d = [[math.dist(q[i], q[j]) for j in range(n)] for i in range(n)]
        return [[d[i][j] / sum(d[i]) for j in range(n)] for i in range(n)]

    z, y = norm_dist(latents.double().tolist()), norm_dist(outputs.double().tolist())
    n = len(z)
    total = sum(max(alpha * z[i][j] - y[i][j], 0.0) for i in range(n) for j in range(n) if i != j)
    return total / (n * n - n)


def draw(n=12, dz=3, dy=5, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, dz, generator=generator, dtype=dtype), torch.randn(
        n, dy, generator=generator, dtype=dtype
    )


def gradient(latents, outputs, **arguments):
    outputs = outputs.clone().requires_grad_()
    nd.ndiv_loss(latents, outputs, **arguments).backward()
    return outputs.grad


@pytest.mark.parametrize("alpha", [0.3, 0.8, 1.0, 1.5])
@pytest.mark.parametrize("dy", [2, 64])
def test_equals_the_double_loop_of_the_paper(alpha, dy):
    latents, outputs = draw(dy=dy)
    assert float(nd.ndiv_loss(latents, outputs, alpha=alpha)) == pytest.approx(
        by_loop(latents, outputs, alpha), rel=1e-5
    )


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10), dy=st.sampled_from([2, 40]), seed=st.integers(0, 20)
)
def test_value_ignores_scale_shift_rotation_and_order(scale, shift, dy, seed):
    latents, outputs = draw(dy=dy, seed=seed)
    loss = nd.ndiv_loss(latents, outputs, alpha=0.9)
    rotation = torch.linalg.qr(torch.randn(dy, dy, generator=torch.Generator().manual_seed(seed)))[0]
    assert_close(nd.ndiv_loss(latents, scale * outputs, alpha=0.9), loss, rtol=1e-4, atol=1e-7)
    assert_close(nd.ndiv_loss(latents, outputs + shift, alpha=0.9), loss, rtol=1e-3, atol=1e-6)
    assert_close(nd.ndiv_loss(latents, outputs @ rotation, alpha=0.9), loss, rtol=1e-4, atol=1e-7)
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(seed))
    assert_close(nd.ndiv_loss(latents[order], outputs[order], alpha=0.9), loss, rtol=1e-5, atol=1e-8)


def test_gradient_grows_as_outputs_shrink():
    latents, outputs = draw()
    for factor in (1e-2, 10.0):
        assert_close(
            gradient(latents, factor * outputs) * factor, gradient(latents, outputs), rtol=1e-4, atol=1e-8
        )


def test_at_alpha_one_it_is_a_total_variation():
    latents, outputs = draw(dtype=torch.float64)
    n = len(latents)
    z, y = nd.normalized_distances(latents), nd.normalized_distances(outputs)
    total_variation = 0.5 * (z - y).abs().sum(-1)
    assert_close(nd.ndiv_loss(latents, outputs, alpha=1.0), total_variation.mean() / (n - 1))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("n", [3, 10, 64])
def test_collapse_reaches_the_bound_and_nothing_exceeds_it(alpha, n):
    latents, outputs = draw(n=n)
    collapsed = torch.ones_like(outputs).requires_grad_()
    loss = nd.ndiv_loss(latents, collapsed, alpha=alpha)
    assert float(loss.detach()) == pytest.approx(alpha / (n - 1), rel=1e-5)
    loss.backward()
    assert bool((collapsed.grad == 0).all())
    assert float(nd.ndiv_loss(latents, outputs, alpha=alpha)) <= alpha / (n - 1)
    per_sample = nd.ndiv_loss(latents, collapsed, alpha=alpha, reduction="sample")
    assert per_sample.item() == pytest.approx(alpha, rel=1e-5)


def test_gradient_with_frozen_normalizer_in_closed_form():
    latents, outputs = draw(dtype=torch.float64)
    n, alpha = len(latents), 0.9
    distances = torch.cdist(outputs, outputs)
    sums = distances.sum(1, keepdim=True)
    active = (alpha * nd.normalized_distances(latents) > distances / sums) & ~torch.eye(n, dtype=torch.bool)
    weights = active / sums
    weights = (weights + weights.T) / distances.fill_diagonal_(1)
    expected = -(weights.sum(1, keepdim=True) * outputs - weights @ outputs) / (n * n - n)
    assert_close(gradient(latents, outputs, alpha=alpha), expected)


def test_detached_normalizer_pushes_outward_and_the_other_does_not():
    latents, outputs = draw(dtype=torch.float64)
    n = len(latents)
    y = nd.normalized_distances(outputs)
    active = 0.9 * nd.normalized_distances(latents) > y
    radial = (gradient(latents, outputs, alpha=0.9) * outputs).sum()
    assert_close(radial, -(y * active).sum() / (n * n - n))
    assert float(radial) < 0
    free = (gradient(latents, outputs, alpha=0.9, detach_normalizer=False) * outputs).sum()
    assert abs(float(free)) < 1e-12


def test_undetached_gradient_is_the_gradient_of_the_value():
    latents, outputs = draw(dtype=torch.float64)
    loss = lambda y: nd.ndiv_loss(latents, y, alpha=0.9, detach_normalizer=False)  # noqa: E731
    assert torch.autograd.gradcheck(loss, (outputs.requires_grad_(),))


def test_two_samples_carry_no_information():
    for seed in range(5):
        latents, outputs = draw(n=2, seed=seed)
        assert_close(nd.normalized_distances(latents), nd.normalized_distances(outputs))
    with pytest.raises(ValueError, match="at least 3 samples"):
        nd.ndiv_loss(latents, outputs)


def test_batches_groups_and_loops_agree():
    generator = torch.Generator().manual_seed(0)
    latents, outputs = torch.rand(4, 5, 3, generator=generator), torch.randn(4, 5, 2, 6, generator=generator)
    each = torch.stack([nd.ndiv_loss(z, y) for z, y in zip(latents, outputs, strict=True)])
    assert_close(nd.ndiv_loss(latents, outputs, reduction="none"), each)
    assert_close(nd.ndiv_loss(latents, outputs), each.mean())
    order = torch.randperm(20, generator=generator)
    condition = torch.arange(4).repeat_interleave(5)[order]
    flat = latents.flatten(0, 1)[order], outputs.flatten(0, 1)[order]
    assert_close(nd.ndiv_loss(*flat, condition=condition), each.mean())
    assert_close(nd.ndiv_loss(*flat, condition=condition, reduction="sample"), 4 * each.mean())


def test_groups_of_different_sizes_count_alike():
    latents, outputs = draw(n=12)
    condition = torch.tensor([0] * 3 + [1] * 9)
    expected = (nd.ndiv_loss(latents[:3], outputs[:3]) + nd.ndiv_loss(latents[3:], outputs[3:])) / 2
    assert_close(nd.ndiv_loss(latents, outputs, condition=condition), expected)


def test_mask_hides_coordinates_from_the_loss():
    latents, outputs = draw(dy=6)
    mask = torch.tensor([True, True, False, True, False, False]).expand(12, 6)
    assert_close(nd.ndiv_loss(latents, outputs, output_mask=mask), nd.ndiv_loss(latents, outputs[:, mask[0]]))
    outputs = outputs.requires_grad_()
    nd.ndiv_loss(latents, outputs, output_mask=mask, alpha=1.0).backward()
    assert bool((outputs.grad[:, ~mask[0]] == 0).all()) and bool((outputs.grad[:, mask[0]] != 0).any())


def test_collapsed_clusters_in_float32():
    for clusters in (1, 2, 8):
        generator = torch.Generator().manual_seed(clusters)
        latents = torch.rand(64, 2, generator=generator)
        centers = torch.eye(8, 512) / 2**0.5
        noise = 1e-4 * torch.randn(64, 512, generator=generator) / 32
        outputs = 1 + centers[torch.arange(64) % clusters] + noise
        exact = nd.ndiv_loss(latents.double(), outputs.double(), alpha=0.8)
        assert float(nd.ndiv_loss(latents, outputs, alpha=0.8)) == pytest.approx(float(exact), rel=1e-4)
        expected = gradient(latents.double(), outputs.double(), alpha=0.8)
        error = (gradient(latents, outputs, alpha=0.8).double() - expected).norm() / expected.norm()
        assert float(error) < 1e-4


def test_module_applies_feature_maps_and_weight():
    generator = torch.Generator().manual_seed(0)
    latents, images = (
        torch.rand(2, 6, 3, generator=generator),
        torch.randn(2, 6, 1, 4, 4, generator=generator),
    )
    network = torch.nn.Conv2d(1, 2, 3)
    diversity = nd.NormalizedDiversity(
        0.8, weight=3.0, latent_features=lambda z: z[:, :2], output_features=network
    )
    features = network(images.flatten(0, 1)).reshape(2, 6, -1)
    expected = 3 * nd.ndiv_loss(latents[..., :2], features, alpha=0.8, reduction="sample")
    assert_close(diversity(latents, images), expected)
    assert "alpha=0.8" in repr(diversity)


def test_default_weight_does_not_depend_on_the_number_of_samples():
    diversity = nd.NormalizedDiversity()
    for n in (4, 32, 200):
        latents, outputs = draw(n=n)
        assert float(diversity(latents, torch.zeros_like(outputs))) == pytest.approx(
            diversity.weight * diversity.alpha, rel=1e-5
        )


def test_training_reaches_a_similarity_at_alpha_one():
    latents, outputs = draw(n=16, dz=2, dy=2)
    outputs = (0.1 * outputs).requires_grad_()
    optimizer = torch.optim.Adam([outputs], lr=0.02)
    start = nd.ndiv_loss(latents, outputs, alpha=1.0).item()
    for _ in range(400):
        optimizer.zero_grad()
        loss = nd.ndiv_loss(latents, outputs, alpha=1.0, detach_normalizer=False)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 * start


NAN = torch.full((4, 2), float("nan"))
Z, Y = torch.rand(4, 2, generator=torch.Generator().manual_seed(1)), torch.rand(4, 5)


@pytest.mark.parametrize(
    ("latents", "outputs", "arguments", "error", "message"),
    [
        (Z, Y[:3], {}, ValueError, "one for each latent"),
        (Z, NAN, {}, ValueError, "finite"),
        (NAN, Y, {}, ValueError, "finite"),
        (Z, Y.long(), {}, TypeError, "floating point"),
        (Z, Y, {"alpha": 0.0}, ValueError, "alpha > 0"),
        (Z, Y, {"alpha": float("nan")}, ValueError, "alpha > 0"),
        (Z, Y, {"reduction": "sum"}, ValueError, "'paper', 'sample', 'none'"),
        (Z, Y.to("meta"), {}, ValueError, "one device"),
        (torch.ones(4, 2), Y, {}, ValueError, "different latents"),
        (Z, Y, {"condition": torch.tensor([0, 0, 1, 1])}, ValueError, "group of 2"),
        (Z, Y, {"condition": torch.tensor([0, 0, 0])}, ValueError, "one integer per sample"),
        (Z, Y, {"output_mask": torch.zeros(4, 5, dtype=torch.bool)}, ValueError, "empty row"),
        (
            Z,
            Y,
            {"output_mask": torch.ones(4, 3, dtype=torch.bool)},
            ValueError,
            "output_mask of the outputs' shape",
        ),
        (Z[0], Y, {}, ValueError, "at least 2 dimensions"),
    ],
)
def test_bad_input_is_refused(latents, outputs, arguments, error, message):
    with pytest.raises(error, match=message):
        nd.ndiv_loss(latents, outputs, **arguments)


def test_module_refuses_a_negative_weight():
    with pytest.raises(ValueError, match="weight >= 0"):
        nd.NormalizedDiversity(weight=-1.0)
    with pytest.raises(ValueError, match="reduction"):
        nd.NormalizedDiversity(reduction="none")
