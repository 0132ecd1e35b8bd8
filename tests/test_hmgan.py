"""Expansion ratios and the losses on them: loops over pairs, identities, limits, and errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from ndiv_lib import HierarchicalDiversity, expansion_ratios, hierarchical_loss, mode_seeking_loss


def draw(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, n, 3, generator=generator)
    outputs = torch.randn(2, n, 1, 4, 4, generator=generator)
    return *latents, *outputs


@pytest.mark.parametrize("p", [1, 2])
def test_equals_a_loop_over_pairs(p):
    latents_a, latents_b, outputs_a, outputs_b = draw()

    def distance(first, second):
        entries = (first - second).double().flatten().abs()
        return entries.mean() if p == 1 else entries.square().mean().sqrt()

    ratios = [
        distance(latents_a[i], latents_b[i]) / distance(outputs_a[i], outputs_b[i])
        for i in range(len(latents_a))
    ]
    assert float(mode_seeking_loss(*draw(), p=p)) == pytest.approx(float(sum(ratios) / len(ratios)), rel=1e-4)


def test_spreading_outputs_lowers_it_and_collapse_is_finite():
    latents_a, latents_b, outputs_a, outputs_b = draw()
    near = mode_seeking_loss(latents_a, latents_b, outputs_a, outputs_b)
    assert_close(
        mode_seeking_loss(latents_a, latents_b, 10 * outputs_a, 10 * outputs_b), near / 10, rtol=1e-3, atol=0
    )
    assert float(mode_seeking_loss(latents_a, latents_b, outputs_a, outputs_a)) == pytest.approx(
        1e5, rel=1e-4
    )


def test_gradient_pushes_the_outputs_apart():
    latents_a, latents_b, outputs_a, outputs_b = draw()
    outputs_a.requires_grad_()
    mode_seeking_loss(latents_a, latents_b, outputs_a, outputs_b, p=2).backward()
    moved = outputs_a.detach() - 0.1 * outputs_a.grad
    assert bool(
        ((moved - outputs_b).flatten(1).norm(dim=1) > (outputs_a - outputs_b).flatten(1).norm(dim=1)).all()
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a, b, x, y: (a, a, x, y), ValueError, "different latents"),
        (lambda a, b, x, y: (a, b, x * torch.nan, y), ValueError, "finite"),
        (lambda a, b, x, y: (a, b, x[:3], y), ValueError, "two batches"),
        (lambda a, b, x, y: (a.long(), b, x, y), TypeError, "floating"),
        (lambda a, b, x, y: (a, b, x.to("meta"), y), ValueError, "one device"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        mode_seeking_loss(*change(*draw()))


# --- Ratios layer by layer -------------------------------------------------------------------------------------------


def paths(sizes=(3, 7, 2, 5), n=6, seed=0, dtype=torch.float64):
    """Two paths of layers of all sorts of shapes, one entry in ``sizes`` for each."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(n, size, 2, generator=generator, dtype=dtype) for size in sizes] for _ in range(2)]


def loop_distance(first, second, p, norm):
    entries = [abs(float(x)) ** p for x in (first - second).flatten()]
    return (sum(entries) / (len(entries) if norm == "mean" else 1)) ** (1 / p)


@pytest.mark.parametrize("norm", ["mean", "sum"])
@pytest.mark.parametrize("p", [1, 2])
def test_ratios_and_losses_equal_a_loop_over_layers_and_pairs(p, norm):
    layers_a, layers_b = paths()
    n, expected_ratio = 6, [0.5, 1.0, 2.0]
    distance = [
        [loop_distance(a[j], b[j], p, norm) for j in range(n)]
        for a, b in zip(layers_a, layers_b, strict=True)
    ]
    ratios = [[distance[i][j] / distance[i + 1][j] for j in range(n)] for i in range(3)]
    assert_close(
        expansion_ratios(layers_a, layers_b, p=p, norm=norm), torch.tensor(ratios, dtype=torch.float64)
    )

    by_pair = sum(sum(abs(r - e) for r in row) / n for row, e in zip(ratios, expected_ratio, strict=True))
    by_batch = sum(abs(sum(distance[i]) / sum(distance[i + 1]) - expected_ratio[i]) for i in range(3))
    for aggregate, value in {"pair": by_pair, "batch": by_batch}.items():
        loss = hierarchical_loss(
            layers_a, layers_b, expected_ratio=expected_ratio, p=p, norm=norm, aggregate=aggregate
        )
        assert float(loss) == pytest.approx(value, rel=1e-4)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), min_size=2, max_size=8),
    seed=st.integers(0, 10**6),
    p=st.sampled_from([1, 2]),
    norm=st.sampled_from(["mean", "sum"]),
)
def test_ratios_telescope_to_mode_seeking(sizes, seed, p, norm):
    layers_a, layers_b = paths(sizes, seed=seed)
    product = expansion_ratios(layers_a, layers_b, p=p, norm=norm).prod(0)
    ends = expansion_ratios([layers_a[0], layers_a[-1]], [layers_b[0], layers_b[-1]], p=p, norm=norm)[0]
    assert_close(product, ends, rtol=1e-6, atol=0)


def test_mode_seeking_is_the_hierarchical_loss_of_one_layer():
    layers_a, layers_b = paths((4, 9))
    assert_close(
        mode_seeking_loss(layers_a[0], layers_b[0], layers_a[1], layers_b[1], aggregate="batch"),
        hierarchical_loss(layers_a, layers_b),
    )


def test_mean_distances_do_not_feel_the_number_of_entries_and_sums_do():
    layers_a, layers_b = paths((4, 4))
    wider_a, wider_b = ([x, y.repeat(1, 3, 1)] for x, y in (layers_a, layers_b))
    by_mean, by_sum = expansion_ratios(layers_a, layers_b), expansion_ratios(layers_a, layers_b, norm="sum")
    assert_close(expansion_ratios(wider_a, wider_b), by_mean)
    assert_close(expansion_ratios(wider_a, wider_b, norm="sum"), by_sum / 3)


def test_detaching_the_numerator_lets_each_layer_answer_for_its_own_output():
    def gradient(detach):
        layers_a, layers_b = paths((3, 3, 3))
        layers_a[1].requires_grad_()
        hierarchical_loss(layers_a, layers_b, detach_numerator=detach).backward()
        outward = (layers_a[1].grad * (layers_a[1] - layers_b[1])).sum()  # along the pair's own difference
        return float(outward.detach())

    both = gradient(False)
    assert gradient(True) < 0  # only the layer's own ratio: more distance is better
    assert both > gradient(True)  # the next layer's ratio pulls the other way


def test_collapse_inside_is_finite_and_blames_the_layer_that_did_it():
    layers_a, layers_b = paths((3, 3, 3, 3), dtype=torch.float32)
    layers_b[1] = layers_a[1].clone()
    layers_b[2] = layers_a[2].clone()
    for layer in layers_a[1:]:
        layer.requires_grad_()
    ratios = expansion_ratios(layers_a, layers_b)
    assert bool(torch.isinf(ratios[0]).all())
    assert bool((ratios[1] == 1).all())
    assert bool((ratios[2] == 0).all())  # distance out of nothing, as from noise inside a layer
    for aggregate in ("batch", "pair"):
        loss = hierarchical_loss(layers_a, layers_b, aggregate=aggregate)
        assert loss.item() == pytest.approx(1e5 + 1, rel=1e-4)
        gradients = torch.autograd.grad(loss, layers_a[1:])
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("aggregate", ["batch", "pair"])
@pytest.mark.parametrize("detach_numerator", [False, True])
def test_gradient_is_right(aggregate, detach_numerator):
    layers_a, layers_b = paths((3, 4, 2), n=3)
    layers_a[2].requires_grad_()

    def loss(outputs):
        return hierarchical_loss(
            [*layers_a[:2], outputs],
            layers_b,
            expected_ratio=0.7,
            aggregate=aggregate,
            detach_numerator=detach_numerator,
        )

    assert torch.autograd.gradcheck(loss, layers_a[2:])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a, b: ([a[0], a[1].half()], [b[0]], {}), ValueError, "same two or more layers, got 2 and 1"),
        (lambda a, b: (a[:1], b[:1], {}), ValueError, "two or more layers"),
        (lambda a, b: (a, b, {"expected_ratio": [1.0, 1.0]}), ValueError, "each of the 3 steps"),
        (lambda a, b: (a, b, {"expected_ratio": -0.1}), ValueError, "expected ratios >= 0"),
        (lambda a, b: (a, b, {"expected_ratio": float("nan")}), ValueError, "finite expected ratios"),
        (lambda a, b: (a, b, {"expected_ratio": "1"}), TypeError, r"a number as expected_ratio.*'1' \(str\)"),
        (lambda a, b: (a, b, {"expected_ratio": [1.0, None, 0.0]}), TypeError, "list of numbers, got None"),
        (lambda a, b: (a, b, {"expected_ratio": torch.ones(3)}), TypeError, r"Tensor\); .*tolist"),
        (lambda a, b: (a, b, {"norm": "max"}), ValueError, "norm"),
        (lambda a, b: (a, b, {"aggregate": "none"}), ValueError, "aggregate"),
        (lambda a, b: (a, b, {"p": 3}), ValueError, "p to be"),
        (lambda a, b: (a, [a[0], *b[1:]], {}), ValueError, "different latents"),
        (lambda a, b: ([*a[:3], a[3] / 0], b, {}), ValueError, "finite"),
    ],
)
def test_bad_layers_are_refused(change, error, message):
    layers_a, layers_b, options = change(*paths())
    with pytest.raises(error, match=message):
        hierarchical_loss(layers_a, layers_b, **options)


# --- The loss on a generator -----------------------------------------------------------------------------------------


class ConditionalGenerator(nn.Module):
    """Latent and condition to 4 x 4 to 8 x 8 images, with a side head that is off the path."""

    def __init__(self, several=False):
        super().__init__()
        self.dense = nn.Linear(3 + 2, 6 * 16)
        self.block = nn.Sequential(nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 1, 1)
        self.image = nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.Tanh())
        self.several = several

    def forward(self, latents, condition=None):
        condition = latents.new_zeros(len(latents), 2) if condition is None else condition
        features = self.block(self.dense(torch.cat([latents, condition], 1)).view(-1, 6, 4, 4))
        return (self.head(features), self.image(features)) if self.several else self.image(features)


def latents(n=5):
    return torch.randn(2, n, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("with_condition", [True, False])
def test_one_forward_of_the_joined_pair_gives_loss_and_outputs(with_condition):
    torch.manual_seed(0)
    generator = ConditionalGenerator()
    condition = torch.eye(2)[[0, 1, 1, 0, 1]] if with_condition else None
    diversity = HierarchicalDiversity(["dense", "block"], expected_ratio=[1.0, 0.5, 0.0], weight=3.0)
    loss, outputs_a, outputs_b = diversity(generator, *latents(), condition)

    joined = torch.cat([*latents()])
    both = None if condition is None else torch.cat([condition, condition])
    x = joined.new_zeros(10, 2) if both is None else both
    dense = generator.dense(torch.cat([joined, x], 1))
    block = generator.block(dense.view(-1, 6, 4, 4))  # normalized over both halves together
    output = generator.image(block)
    path = [joined, dense, block, output]
    expected = 3 * hierarchical_loss(
        [v[:5] for v in path], [v[5:] for v in path], expected_ratio=[1.0, 0.5, 0.0]
    )
    assert_close(loss, expected)
    assert_close(torch.cat([outputs_a, outputs_b]), output)
    loss.backward()
    assert generator.dense.weight.grad.abs().sum() > 0


def test_an_output_that_is_the_last_layer_counts_once():
    generator = ConditionalGenerator()
    layers_a, _ = HierarchicalDiversity(["block", "image"]).record(generator, *latents())
    assert [tuple(layer.shape[1:]) for layer in layers_a] == [(3,), (4, 8, 8), (3, 8, 8)]
    layers_a, _ = HierarchicalDiversity(["block", "image.0"], from_latents=False).record(
        generator, *latents()
    )
    assert [tuple(layer.shape[1:]) for layer in layers_a] == [(4, 8, 8), (3, 8, 8), (3, 8, 8)]


class UNet(nn.Module):
    """An image as condition, the latent as planes in the middle, a skip around it."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 4, 2, 1)
        self.middle = nn.Conv2d(4 + 3, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6 + 4, 3, 4, 2, 1)

    def forward(self, latents, images):
        down = self.down(images).relu()
        planes = latents[:, :, None, None].expand(-1, -1, *down.shape[2:])
        middle = self.middle(torch.cat([down, planes], 1)).relu()
        return self.up(torch.cat([middle, down], 1)).tanh()


class Blocks(nn.Module):
    """Residual blocks in a list."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(4))

    def forward(self, latents):
        for block in self.blocks:
            latents = latents + block(latents).relu()
        return latents


@pytest.mark.parametrize(
    ("generator", "layers", "conditions", "num_ratios"),
    [
        (UNet, ["middle", "up"], [torch.zeros(5, 3, 8, 8)], 3),  # tanh follows the last named layer
        (Blocks, ["blocks.0", "blocks.2"], [], 3),
        (ConditionalGenerator, ["dense", "block.0", "block", "image"], [], 4),
    ],
    ids=["U-Net", "blocks", "convolutional"],
)
def test_any_generator_can_be_steered(generator, layers, conditions, num_ratios):
    torch.manual_seed(0)
    generator = generator()
    diversity = HierarchicalDiversity(layers, expected_ratio=[0.3] * num_ratios)
    ratios = expansion_ratios(*diversity.record(generator, *latents(), *conditions))
    assert ratios.shape == (num_ratios, 5)
    optimizer = torch.optim.Adam(generator.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss, *_ = diversity(generator, *latents(), *conditions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < losses[0] / 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: HierarchicalDiversity("block"), ValueError, "list of layer names"),
        (lambda: HierarchicalDiversity(["block"], weight=-1), ValueError, "weight >= 0"),
        (lambda: HierarchicalDiversity(["block"], expected_ratio=-1.0), ValueError, ">= 0"),
        (lambda: HierarchicalDiversity(["block"], expected_ratio="1"), TypeError, "a number"),
        (
            lambda: HierarchicalDiversity(["blocks"])(ConditionalGenerator(), *latents()),
            ValueError,
            "'block'",
        ),
        (
            lambda: HierarchicalDiversity(["head"])(ConditionalGenerator(), *latents()),
            ValueError,
            "not reached",
        ),
        (
            lambda: HierarchicalDiversity(["block"])(ConditionalGenerator(several=True), *latents()),
            TypeError,
            "one tensor, got tuple",
        ),
        (
            lambda: HierarchicalDiversity(["block"], expected_ratio=[0.0] * 3)(
                ConditionalGenerator(), *latents()
            ),
            ValueError,
            "each of the 2 steps",
        ),
        (
            lambda: HierarchicalDiversity(["block"])(ConditionalGenerator(), latents()[0], latents()[0]),
            ValueError,
            "different latents",
        ),
        (
            lambda: HierarchicalDiversity(["block"])(ConditionalGenerator(), latents()[0], latents(4)[0]),
            ValueError,
            "one shape",
        ),
    ],
)
def test_bad_use_of_the_module_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
