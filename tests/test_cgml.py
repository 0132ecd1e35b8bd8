"""The formulas of cGML against independent loops, its inference rules, and LatentSearch on a task with known answers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ndiv_lib import cgml
from ndiv_lib.data import branch_modes
from ndiv_lib.models import MLP


def l1(outputs, targets):
    return (outputs - targets).abs().mean(-1)


class Joined(MLP):
    def forward(self, features, latents):
        return super().forward(torch.cat([features, latents], dim=-1))


def make_search(**settings):
    settings = {"latent_dim": 1, "cost": l1, "latent": "interval", "step_size": 0.2, "steps": 5} | settings
    dz = settings["latent_dim"]
    return cgml.LatentSearch(
        MLP([1, 32, 32, 8]),
        Joined([8 + dz, 32, 32, 3]),
        Joined([8 + dz, 32, 32, dz + 1]),
        **settings,
    )


# --- Updates ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    batch=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    dz=st.integers(1, 3),
    beta=st.floats(0.01, 1.0),
    seed=st.integers(0, 100),
)
def test_latent_step_is_gradient_descent_on_each_samples_own_cost(batch, dz, beta, seed):
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(*batch, dz, generator=random, dtype=torch.float64)
    target = torch.randn(*batch, dz, generator=random, dtype=torch.float64)
    moved = cgml.latent_step(lambda z: (z - target).square().sum(-1), latents, step_size=beta)
    torch.testing.assert_close(moved, latents - 2 * beta * (latents - target), rtol=0, atol=1e-12)
    assert not moved.requires_grad


def test_latent_step_works_without_gradients_and_projects():
    latents = cgml.draw_latents(7, 3)
    with torch.no_grad():
        moved = cgml.latent_step(
            lambda z: z[:, 0], latents, step_size=0.5, project=lambda z: cgml.project(z, "sphere")
        )
    torch.testing.assert_close(moved.norm(dim=-1), torch.ones(7))
    assert (moved[:, 0] < latents[:, 0]).all()


def test_momentum_and_losses_against_a_double_loop():
    random = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, 5, 3, generator=random, dtype=torch.float64)
    rho = cgml.momentum(before, after, scale=1.5)
    loop = [
        1.5 * math.sqrt(sum((b - a) ** 2 for a, b in zip(x, y, strict=True)))
        for x, y in zip(before.tolist(), after.tolist(), strict=True)
    ]
    torch.testing.assert_close(rho, torch.tensor(loop, dtype=torch.float64))

    prediction, noisy = torch.randn(2, 5, 4, generator=random, dtype=torch.float64)
    for norm, power in (("l1", 1), ("l2", 2)):
        expected = sum(
            abs(prediction[i, j] - (after[i, j] if j < 3 else rho[i])) ** power
            + 0.3 * abs(noisy[i, j] - prediction[i, j])
            for i in range(5)
            for j in range(4)
        )
        loss = cgml.predictor_loss(prediction, after, rho, norm=norm, noisy=noisy, penalty_weight=0.3)
        torch.testing.assert_close(loss, expected / 20)


def test_plain_losses_have_no_penalty():
    costs = torch.rand(6)
    assert cgml.generator_loss(costs) == costs.mean()
    assert cgml.generator_loss(costs, outputs=costs, noisy=costs, penalty_weight=2.0) == costs.mean()


def test_l1_predictor_learns_the_median_and_l2_the_mean():
    """The paper writes expectations and trains with L1: of steps to 0, 0 and 3 one learns 0, the other 1."""
    for norm, answer in (("l1", 0.0), ("l2", 1.0)):
        constant = torch.tensor([0.5, 0.0], requires_grad=True)
        optimizer = torch.optim.Adam([constant], lr=0.02)
        for _ in range(600):
            optimizer.zero_grad()
            next_latents = torch.tensor([[0.0], [0.0], [3.0]])
            cgml.predictor_loss(constant.expand(3, 2), next_latents, torch.zeros(3), norm=norm).backward()
            optimizer.step()
        assert abs(float(constant[0].detach()) - answer) < 0.03


# --- Inference --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(dz=st.integers(1, 4), seed=st.integers(0, 100))
def test_momentum_rule_steps_as_far_as_predicted_in_the_predicted_direction(dz, seed):
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(6, dz, generator=random, dtype=torch.float64)
    prediction = torch.randn(6, dz + 1, generator=random, dtype=torch.float64)
    moved = cgml.latent_update(prediction, latents, rule="momentum") - latents
    torch.testing.assert_close(moved.norm(dim=-1), prediction[:, -1].clamp_min(0), rtol=1e-6, atol=1e-9)
    towards = prediction[:, :-1] - latents
    assert ((moved * towards).sum(-1) >= -1e-12).all()
    assert torch.equal(cgml.latent_update(prediction, latents, rule="plain"), prediction[:, :-1])


def test_momentum_rule_rests_where_there_is_no_direction():
    latents = torch.ones(3, 2)
    prediction = torch.cat([latents, torch.full((3, 1), 0.7)], dim=-1)
    assert torch.equal(cgml.latent_update(prediction, latents, rule="momentum"), latents)


def test_hybrid_walks_with_momentum_first_and_then_plainly():
    def predictor(features, latents):  # plain: to zero at once; momentum: .1 towards it
        return torch.cat([0 * latents, torch.full_like(latents[..., :1], 0.1)], dim=-1)

    _, trajectory = cgml.infer(predictor, None, torch.ones(1, 1), rule="hybrid", steps=5, latent="interval")
    torch.testing.assert_close(trajectory.flatten(), torch.tensor([1.0, 0.9, 0.8, 0.7, 0.0, 0.0]))


@pytest.mark.parametrize("rule", ["plain", "momentum", "hybrid"])
def test_walks_on_a_sphere_stay_on_it(rule):
    search = make_search(latent="sphere", latent_dim=3)
    _, latents, trajectory = search.infer(torch.rand(4, 1), num_samples=5, rule=rule)
    torch.testing.assert_close(trajectory.norm(dim=-1), torch.ones(6, 4, 5))
    assert torch.equal(trajectory[-1], latents)


# --- LatentSearch -----------------------------------------------------------------------------------------------------


def train(search, num_updates, *, seed=0):
    random = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(search.parameters(), lr=2e-3)
    for _ in range(num_updates):
        inputs = torch.rand(64, 1, generator=random)
        signs = 2 * torch.randint(2, (64, 1), generator=random) - 1
        report = search.training_step(inputs, signs * branch_modes(inputs)[:, 0], adam, generator=random)
    return report


def test_latent_search_finds_both_answers():
    torch.manual_seed(0)
    search = make_search()
    train(search, 600)
    inputs = torch.full((1, 1), 0.8)
    outputs, _, _ = search.infer(inputs, num_samples=200, generator=torch.Generator().manual_seed(1))
    distances = l1(outputs[0, :, None], branch_modes(inputs))  # (200, 2)
    half = branch_modes(inputs)[0, 0].abs().mean()
    assert (distances.min(-1).values < 0.25 * half).float().mean() > 0.9
    shares = (distances.argmin(-1) == 0).float().mean()
    assert 0.2 < shares < 0.8


def test_report_holds_the_costs_of_the_search_and_its_latents():
    torch.manual_seed(0)
    report = train(make_search(steps=4), 100)
    assert report.costs.shape == (5,)
    assert report.costs[-1] < report.costs[0], "the search lowers the cost"
    assert report.latents.shape == (64, 1)


def test_training_repeats_bit_for_bit():
    def states():
        torch.manual_seed(0)
        search = make_search()
        train(search, 20)
        return search.state_dict()

    for first, second in zip(states().values(), states().values(), strict=True):
        assert torch.equal(first, second)


class Skips(nn.Module):
    """An encoder with a code and a skip, and batch norm."""

    def __init__(self):
        super().__init__()
        self.code, self.skip, self.norm = nn.Linear(4, 6), nn.Linear(4, 2), nn.BatchNorm1d(6)

    def forward(self, inputs):
        return self.norm(self.code(inputs)), self.skip(inputs)


class FromCode(nn.Module):
    """A network of all features and the latents, with batch norm."""

    def __init__(self, latent_dim, out):
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(8 + latent_dim), nn.Linear(8 + latent_dim, out)

    def forward(self, features, latents):
        return self.linear(self.norm(torch.cat([*features, latents], dim=-1)))


def with_batch_norm(**settings):
    settings = {"latent_dim": 3, "cost": l1, "steps": 2, "step_size": 0.1} | settings
    return cgml.LatentSearch(Skips(), FromCode(3, 5), FromCode(3, 4), **settings)


def test_features_may_be_a_tuple_and_batch_norm_rests_during_the_search():
    search = with_batch_norm()
    adam = torch.optim.Adam(search.parameters())
    search.training_step(torch.randn(9, 4), torch.randn(9, 5), adam)
    assert all(part.training for part in search.modules()), "modes are as before"
    # One forward of the encoder, and two of the generator (clean and disturbed), in train mode.
    assert search.encoder.norm.num_batches_tracked == 1
    assert search.generator.norm.num_batches_tracked == 2
    assert search.predictor.norm.num_batches_tracked == 4  # two steps, clean and disturbed


def test_an_answer_does_not_depend_on_the_other_inputs():
    search = with_batch_norm()
    inputs, latents = torch.randn(5, 4), cgml.draw_latents(5, 2, 3)
    together, _, _ = search.infer(inputs, num_samples=2, latents=latents)
    alone, _, _ = search.infer(inputs[3:4], num_samples=2, latents=latents[3:4])
    torch.testing.assert_close(together[3:4], alone)


def test_no_update_touches_a_frozen_network():
    search = with_batch_norm(penalty_weight=0.0)
    frozen_generator = {k: v.clone() for k, v in search.generator.state_dict().items()}
    # A predictor alone in the optimizer: encoder and generator must stay as they are, except batch statistics.
    adam = torch.optim.Adam(search.predictor.parameters())
    search.training_step(torch.randn(9, 4), torch.randn(9, 5), adam)
    for name, before in frozen_generator.items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(search.generator.state_dict()[name], before)


def test_kept_latents_go_on_where_they_were():
    torch.manual_seed(0)
    search = make_search(steps=1, step_size=1e-6)
    adam = torch.optim.Adam(search.parameters())
    inputs, targets = torch.rand(8, 1), torch.randn(8, 3)
    kept = search.training_step(inputs, targets, adam).latents
    again = search.training_step(inputs, targets, adam, latents=kept).latents
    torch.testing.assert_close(again, kept, atol=1e-4, rtol=0)


# --- Bad input --------------------------------------------------------------------------------------------------------


META = torch.ones(3, 2, device="meta")


def wide(features, latents):
    return torch.zeros(*latents.shape[:-1], latents.shape[-1] + 2)


def right(features, latents):
    return torch.zeros(*latents.shape[:-1], latents.shape[-1] + 1)


def diverged(features, latents):
    return right(features, latents) / 0


def train_once(*, inputs=None, targets=None, latents=None):
    """One step on four samples; arguments replace good ones."""
    search = make_search()
    adam = torch.optim.Adam(search.parameters())
    given = torch.rand(4, 1) if inputs is None else inputs
    return search.training_step(
        given, torch.rand(4, 3) if targets is None else targets, adam, latents=latents
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cgml.draw_latents(4, 1), ValueError, "dz >= 2"),
        (lambda: cgml.draw_latents(4, 2, latent="ball"), ValueError, "latent"),
        (lambda: cgml.draw_latents(), ValueError, "shape"),
        (lambda: cgml.project(torch.ones(2, 2, dtype=torch.long), "sphere"), TypeError, "float"),
        (lambda: cgml.latent_step(lambda z: z.mean(), torch.ones(3, 2), step_size=0.1), ValueError, "per sample"),
        (lambda: cgml.latent_step(lambda z: z, torch.ones(3, 2), step_size=0.1), ValueError, "per sample"),
        (lambda: cgml.latent_step(lambda z: z[:, 0] / 0 * 0, torch.ones(3, 2), step_size=0.1), ValueError, "finite"),
        (lambda: cgml.latent_step(lambda z: torch.ones(3), torch.ones(3, 2), step_size=0.1), ValueError, "depend"),
        (lambda: cgml.latent_step(lambda z: z[:, 0], torch.ones(3, 2), step_size=0.0), ValueError, "step_size"),
        (lambda: cgml.latent_step(lambda z: 3.0, torch.ones(3, 2), step_size=0.1), TypeError, "costs"),
        (lambda: cgml.momentum(torch.ones(3, 2), torch.ones(4, 2)), ValueError, "next_latents"),
        (lambda: cgml.momentum(torch.ones(3, 2), torch.ones(3, 2), scale=0), ValueError, "scale"),
        (lambda: cgml.predictor_loss(torch.ones(3, 2), torch.ones(3, 2), torch.ones(3)), ValueError, "3 outputs"),
        (lambda: cgml.predictor_loss(torch.ones(3, 3), torch.ones(3, 2), torch.ones(3, 1)), ValueError, "momentum"),
        (lambda: cgml.predictor_loss(torch.ones(3, 3), torch.ones(3, 2), torch.ones(3), norm="l0"), ValueError, "norm"),
        (lambda: cgml.predictor_loss(torch.ones(3, 3), [1], torch.ones(3)), TypeError, "next_latents"),
        (lambda: cgml.predictor_loss(torch.ones(3, 3), torch.ones(3, 2), META), ValueError, "momentum on meta"),
        (lambda: cgml.latent_update(torch.ones(3, 3), META, rule="plain"), ValueError, "latents on meta"),
        (lambda: cgml.generator_loss(torch.ones(3), penalty_weight=1.0), ValueError, "undisturbed"),
        (lambda: cgml.generator_loss(torch.ones(3), penalty_weight=-1.0), ValueError, "penalty_weight"),
        (lambda: cgml.latent_update(torch.ones(3, 3), torch.ones(3, 2), rule="fast"), ValueError, "rule"),
        (lambda: cgml.infer(right, None, torch.ones(3, 2), rule="mixed"), ValueError, "'hybrid'"),
        (lambda: cgml.infer(right, None, torch.ones(3, 2)), ValueError, "unit sphere"),
        (lambda: cgml.infer(right, None, torch.full((3, 2), float("nan"))), ValueError, "unit sphere"),
        (lambda: cgml.infer(right, None, torch.ones(3, 2), steps=0, latent="interval"), ValueError, "steps"),
        (lambda: cgml.infer(right, None, torch.ones(3, 2), steps=-2, latent="interval"), ValueError, "steps"),
        (lambda: cgml.infer(right, None, torch.ones(3, 2), steps=2.0, latent="interval"), TypeError, "integer"),
        (lambda: cgml.infer(wide, None, torch.ones(3, 2), latent="interval"), ValueError, "3 outputs"),
        (lambda: cgml.infer(diverged, None, torch.ones(3, 2), latent="interval"), ValueError, "finite walks"),
        (lambda: make_search(steps=0), ValueError, "steps"),
        (lambda: make_search(step_size=-1.0), ValueError, "step_size"),
        (lambda: make_search(step_decay=1.5), ValueError, "step_decay"),
        (lambda: make_search(latent="torus"), ValueError, "latent"),
        (lambda: make_search(latent="sphere", latent_dim=1), ValueError, "latent_dim"),
        (lambda: make_search(predictor_norm="huber"), ValueError, "predictor_norm"),
        (lambda: make_search(step_size="0.1"), TypeError, "step_size to be a number"),
        (lambda: make_search(step_decay=None), TypeError, "step_decay to be a number"),
        (lambda: make_search(latent_dim=True), TypeError, "latent_dim to be an integer"),
        (lambda: train_once(inputs=[[0.5]] * 4), TypeError, "inputs to be a torch.Tensor"),
        (lambda: train_once(inputs=torch.ones(4, 1).long()), TypeError, "encoder takes, got torch.int64"),
        (lambda: train_once(inputs=torch.ones(4, 1) / 0), ValueError, "finite inputs"),
        (lambda: train_once(targets=torch.rand(3, 3)), ValueError, "one target for each of 4 inputs, got 3"),
        (lambda: train_once(targets=torch.rand(4, 3, device="meta")), ValueError, "targets on meta"),
        (lambda: train_once(latents=torch.rand(3, 1)), ValueError, r"latent_dim\) = \(4, 1\), got \(3, 1\)"),
        (lambda: train_once(latents=torch.rand(4, 2)), ValueError, r"latent_dim\) = \(4, 1\), got \(4, 2\)"),
        (lambda: train_once(latents=torch.rand(4, 1, device="meta")), ValueError, "latents on meta"),
        (lambda: make_search().infer(torch.ones(2, 1) / 0), ValueError, "finite inputs"),
        (lambda: make_search().infer(torch.rand(2, 1), num_samples=1.5), TypeError, "num_samples to be an integer"),
        (lambda: make_search().infer(torch.rand(2, 1), num_samples=0), ValueError, "num_samples"),
        (lambda: make_search().infer(torch.rand(2, 1), latents=torch.rand(2, 1)), ValueError, "latents"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_walks_may_diverge_where_values_are_not_looked_at():
    _, trajectory = cgml.infer(diverged, None, torch.ones(3, 2), latent="interval", check_values=False)
    assert not bool(trajectory[-1].isfinite().any())


def test_targets_may_be_what_only_the_cost_understands():
    def cost(outputs, targets):
        return l1(outputs, targets["answers"])

    search = make_search(cost=cost)
    adam = torch.optim.Adam(search.parameters())
    report = search.training_step(torch.rand(4, 1), {"answers": torch.rand(4, 3)}, adam)
    assert report.costs.shape == (6,)


def test_an_encoder_may_take_integers():
    search = make_search()
    search.encoder = nn.Sequential(nn.Embedding(5, 8), nn.Flatten(1))
    report = search.training_step(
        torch.arange(4)[:, None], torch.rand(4, 3), torch.optim.Adam(search.parameters())
    )
    assert report.latents.dtype == torch.float32


def test_training_refuses_bad_costs_and_latents():
    targets = torch.full((4, 3), float("nan"))
    search = make_search()
    adam = torch.optim.Adam(search.parameters())
    with pytest.raises(ValueError, match="finite costs"):
        search.training_step(torch.rand(4, 1), targets, adam)
    search = make_search(cost=lambda outputs, targets: (outputs - targets).abs().mean())
    with pytest.raises(ValueError, match="one cost per sample"):
        search.training_step(torch.rand(4, 1), torch.rand(4, 3), adam)
    search = make_search(latent="sphere", latent_dim=2)
    with pytest.raises(ValueError, match="unit sphere"):
        search.training_step(torch.rand(4, 1), torch.rand(4, 3), adam, latents=torch.ones(4, 2))
