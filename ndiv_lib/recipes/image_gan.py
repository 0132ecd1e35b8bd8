"""The training loop of all image recipes: an adversarial loss, a penalty, and a term for diversity.

One configuration says everything that changes the result; how it is computed (precision, compilation, processes) is
:class:`~ndiv_lib.training.Speed`. Read :func:`train` from top to bottom: one update of the
discriminator, one of the generator, one loop. A run lives in a folder, can be killed at any moment, and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib import models
from ndiv_lib._checks import check_choice, check_integer, check_positive
from ndiv_lib.activations import record_activations
from ndiv_lib.adversarial import discriminator_loss, generator_loss, gradient_penalty, r1_penalty, r2_penalty
from ndiv_lib.data.images import IMAGE_SHAPES, describe_images, load_bytes
from ndiv_lib.hmgan import hierarchical_loss, mode_seeking_loss
from ndiv_lib.models import ImageDiscriminator, ImageGenerator
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.image_scores import image_scores
from ndiv_lib.recipes.recording import Measured, joined
from ndiv_lib.training import (
    Batches,
    Replayed,
    Run,
    Speed,
    averaged,
    gather_batch,
    keep_capturable,
    make_accelerator,
    prepare_network,
    read_checkpoint,
)

ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "resnet": (models.ResidualGenerator, models.ResidualDiscriminator),
    "sndcgan": (models.SNDCGANGenerator, models.SNDCGANDiscriminator),
    "conditional_dcgan": (models.ConditionalDCGANGenerator, models.ConditionalDCGANDiscriminator),
    "plain_resnet": (models.PlainResidualGenerator, models.PlainResidualDiscriminator),
}

MOST_COMPARED = (
    50_000  # images of a split that samples are drawn from for scores: more are a matter of memory only
)


@dataclass(frozen=True)
class Config:
    """A generative adversarial network on images; the defaults are those that all rows of NDiv's Table 2 share."""

    data: str = "cifar10"
    image_size: int = 0  # 0: as stored; half or a quarter of it (means of 2 x 2 or 4 x 4 pixels) for a CPU
    fraction: float = 1.0  # of the training images, a random part that depends on the seed alone
    num_classes: int = 0  # above 0: networks are given the class
    architecture: Literal["resnet", "sndcgan", "conditional_dcgan", "plain_resnet"] = "resnet"
    generator_width: int = 256  # channels, see the networks
    discriminator_width: int = 128
    latent: Literal["uniform", "normal"] = "uniform"  # uniform on [-1, 1]
    latent_dim: int = 128
    # of discriminator and generator
    objective: Literal["nonsaturating", "wasserstein", "hinge", "least_squares", "relativistic"] = (
        "nonsaturating"
    )
    spectral_norm: bool = False  # of the discriminator's weights
    penalty: Literal["none", "gradient", "r1_r2"] = "none"  # on the discriminator's slope
    penalty_weight: float = 0.0
    discriminator_steps: int = 5  # for each step of the generator
    num_steps: int = 40_000  # of the generator: 200,000 of the discriminator
    batch_size: int = 64  # real images per process and update
    accumulation: int = 1  # batches per update
    fakes_per_real: int = 1  # two, where a batch of pairs is compared with single real images
    latents_per_label: int = 1  # generated images of one class in a row; pairs need 2
    learning_rate: float = 2e-4  # of Adam, for both networks
    beta1: float = 0.5
    beta2: float = 0.999
    weight_decay: float = 0.0  # added to the gradient, as Adam did before AdamW
    # real and generated in one pass; not with batch normalization in the discriminator
    joint_batches: bool = True
    diversity: Literal["none", "ndiv", "mode_seeking", "hierarchical"] = "none"  # the generator's extra term
    diversity_weight: float = 0.0
    diversity_batch: Literal["local", "gathered"] = "local"  # pairs within a process, or among all processes
    # NDiv's h_Y: pixels, or a level of the discriminator
    diversity_features: Literal["pixels", "logits", "pooled", "block"] = "pixels"
    alpha: float = 0.5  # NDiv's slack
    expected_ratio: float = 0.0  # HMGAN's lambda, one for all layers
    # of the generator's weights that samples are drawn with; 0 takes the last weights
    average_decay: float = 0.0
    num_samples: int = 10_000  # generated and real images that are compared

    def __post_init__(self) -> None:
        check_choice(self.data, "data", sorted(IMAGE_SHAPES))
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal:
                check_choice(getattr(self, name), name, get_args(kind))
        for name in (
            "discriminator_steps",
            "num_steps",
            "batch_size",
            "accumulation",
            "fakes_per_real",
            "latents_per_label",
            "latent_dim",
            "generator_width",
            "discriminator_width",
        ):
            check_integer(getattr(self, name), name, least=1)
        check_integer(self.num_classes, "num_classes", least=0)
        check_integer(self.num_samples, "num_samples", least=2)  # before hours of training, not after
        check_positive(self.learning_rate, "learning_rate")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"expected fraction in (0, 1], got {self.fraction}.")
        for name, weight in (("penalty", self.penalty_weight), ("diversity", self.diversity_weight)):
            check_positive(weight, f"{name}_weight", allow_zero=True)
            if weight and getattr(self, name) == "none":
                raise ValueError(
                    f"expected {name}_weight 0 with {name} 'none', got {weight}; choose a {name}."
                )
        stored = IMAGE_SHAPES[self.data][1]
        check_choice(self.image_size, "image_size", (0, stored, stored // 2, stored // 4))
        pairs = self.diversity in ("mode_seeking", "hierarchical")
        if pairs and self.latents_per_label != 2:
            raise ValueError(
                f"expected latents_per_label 2 for {self.diversity!r}, got {self.latents_per_label}."
            )
        if self.diversity == "ndiv" and self.latents_per_label in (2,):
            raise ValueError(
                "expected latents_per_label 1 or >= 3 for 'ndiv': two samples have no normalized distances."
            )
        if (self.batch_size * self.fakes_per_real) % self.latents_per_label:
            raise ValueError(
                f"expected batch_size times fakes_per_real to be a multiple of latents_per_label, got "
                f"{self.batch_size} x {self.fakes_per_real} and {self.latents_per_label}."
            )
        if self.num_classes and self.fakes_per_real > self.latents_per_label:
            raise ValueError(
                f"expected fakes_per_real <= latents_per_label with classes, as labels come from the real batch; got "
                f"{self.fakes_per_real} and {self.latents_per_label}."
            )
        if self.penalty == "gradient" and self.num_classes:
            raise ValueError(
                "expected no classes with the gradient penalty, whose points lie between images of two classes."
            )


def networks(config: Config, seed: int) -> tuple[ImageGenerator, ImageDiscriminator]:
    """Generator and discriminator with the initial weights of that seed; the same for every method."""
    channels, stored, _ = IMAGE_SHAPES[config.data]
    of_generator, of_discriminator = ARCHITECTURES[config.architecture]
    random = torch.Generator().manual_seed(1_000_003 + seed)
    shape = {
        "image_size": config.image_size or stored,
        "channels": channels,
        "num_classes": config.num_classes,
    }
    spectral = {"spectral_norm": True} if config.spectral_norm else {}
    generator = of_generator(config.latent_dim, width=config.generator_width, generator=random, **shape)
    return generator, of_discriminator(
        width=config.discriminator_width, generator=random, **spectral, **shape
    )


def stored_bytes(config: Config, split: str) -> tuple[Tensor, Tensor]:
    """The images of a split as bytes ``(n, c, h, w)`` of the configured size, and their labels."""
    images, labels = load_bytes(config.data, split)
    factor = images.shape[-1] // (config.image_size or images.shape[-1])
    if factor > 1:
        images = torch.cat(
            [F.avg_pool2d(part.float(), factor).round().byte() for part in images.split(5_000)]
        )
    return images, labels


def training_bytes(config: Config, seed: int) -> tuple[Tensor, Tensor]:
    """The training images as bytes ``(n, c, h, w)``, and their labels: all, or the part that the seed picks."""
    images, labels = stored_bytes(config, "train")
    if config.fraction < 1:
        random = torch.Generator().manual_seed(3_000_003 + seed)
        chosen = torch.randperm(len(images), generator=random)[: round(config.fraction * len(images))]
        images, labels = images[chosen], labels[chosen]
    return images, labels


def draw_latents(config: Config, count: int, random: torch.Generator) -> Tensor:
    """Latents ``(count, latent_dim)``, drawn on the CPU, so that they are the same on every device."""
    if config.latent == "normal":
        return torch.randn(count, config.latent_dim, generator=random)
    return 2 * torch.rand(count, config.latent_dim, generator=random) - 1


def diversity_term(
    config: Config,
    discriminator: Any,
    latents: Tensor,
    images: Tensor,
    labels: Tensor | None,
    layers: Sequence[Tensor],
) -> Tensor:
    """The term for diversity, unweighted; rows of one class are neighbors, and ``layers`` are the generator's own."""
    gather = gather_batch if config.diversity_batch == "gathered" else lambda tensor: tensor
    if config.diversity == "ndiv":
        outputs = images
        if config.diversity_features != "pixels":
            outputs = discriminator.features(images, labels, level=config.diversity_features)
        latents, outputs = gather(latents), gather(outputs.flatten(1))
        if config.latents_per_label > 1:
            latents, outputs = (x.unflatten(0, (-1, config.latents_per_label)) for x in (latents, outputs))
        return ndiv_loss(latents, outputs, alpha=config.alpha, reduction="sample")
    path = [gather(tensor) for tensor in (latents, *layers, images)]
    halves = [(tensor[0::2], tensor[1::2]) for tensor in path]
    if config.diversity == "mode_seeking":
        return mode_seeking_loss(*halves[0], *halves[-1])
    first, second = zip(*halves, strict=True)
    return hierarchical_loss(first, second, expected_ratio=config.expected_ratio)


def train(
    config: Config,
    seed: int,
    folder: str | Path,
    *,
    recipe: str = "image_gan",
    speed: Speed | None = None,
    max_minutes: float | None = None,
    report: Callable[[str], None] = print,
    every: int = 50,
    checkpoint_minutes: float = 10.0,
) -> bool:
    """Train one model in its folder, or go on with it; return whether it is finished.

    Args:
        config: everything that changes the result.
        seed: of weights, data order, and latents.
        folder: of the run.
        recipe: under whose name it runs.
        speed: precision, compilation and the like.
        max_minutes: of this sitting.
        report: takes a line of text.
        every: steps between two looks at the terms.
        checkpoint_minutes: between two checkpoints.

    Raises:
        FileNotFoundError: if the data are not prepared.
        RunMismatch, CheckpointError, TrainingDiverged: see :class:`~ndiv_lib.training.Run`.
    """
    speed = speed or Speed()
    accelerator = make_accelerator(speed, accumulation=config.accumulation)
    device = accelerator.device
    batches = Batches(
        *training_bytes(config, seed),
        batch_size=config.batch_size,
        seed=seed,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        device=device,
    )
    random = torch.Generator().manual_seed(2_000_003 * (1 + accelerator.process_index) + seed)
    torch.manual_seed(4_000_003 * (1 + accelerator.process_index) + seed)  # the places of gradient penalties

    own_generator, own_discriminator = networks(config, seed)
    for network in (own_generator, own_discriminator):
        prepare_network(network, speed, device)
    adam = partial(
        torch.optim.Adam,
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
    of_generator, of_discriminator = (
        keep_capturable(adam(network.parameters()), speed) for network in (own_generator, own_discriminator)
    )
    average = averaged(own_generator, config.average_decay)
    parts = {
        "generator": own_generator,
        "discriminator": own_discriminator,
        "average": average,
        "of_generator": of_generator,
        "of_discriminator": of_discriminator,
        "batches": batches,
        "latents": random,
    }
    if accelerator.scaler is not None:
        parts["scaler"] = accelerator.scaler
    generator, discriminator, of_generator, of_discriminator = accelerator.prepare(
        own_generator, own_discriminator, of_generator, of_discriminator
    )

    def logits_at(points: Tensor, labels: Tensor | None = None) -> Tensor:
        """The discriminator without what accelerate (autocast) and torch.compile have put around its forward."""
        logits: Tensor = own_discriminator.features(points, labels, level="logits")[:, 0]
        return logits

    def discriminator_update(real: Tensor, labels: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """One step of the discriminator; its penalty is in float32 and never compiled, as it differentiates twice."""
        own_discriminator.requires_grad_(True)
        real_labels, fake_labels = labels_for(config, labels)
        with accelerator.accumulate(discriminator), accelerator.autocast():
            with torch.no_grad():
                fake = generator(latents, fake_labels).float()
            if config.joint_batches:
                both = (
                    []
                    if real_labels is None or fake_labels is None
                    else [torch.cat([real_labels, fake_labels])]
                )
                logits = discriminator(torch.cat([real, fake]), *both)
                real_logits, fake_logits = logits[: len(real)], logits[len(real) :]
            else:
                real_logits, fake_logits = discriminator(real, real_labels), discriminator(fake, fake_labels)
            loss = discriminator_loss(
                real_logits=real_logits.float().repeat(config.fakes_per_real),
                fake_logits=fake_logits.float(),
                objective=config.objective,
            )
            terms = {"discriminator": loss}
            with torch.autocast(device.type, enabled=False):
                if config.penalty == "gradient":
                    terms["penalty"] = gradient_penalty(logits_at, real=real, fake=fake[: len(real)])
                elif config.penalty == "r1_r2":
                    on_real = partial(logits_at, labels=real_labels)
                    on_fake = partial(logits_at, labels=fake_labels)
                    terms["penalty"] = r1_penalty(on_real, real) + r2_penalty(on_fake, fake)
            if "penalty" in terms:
                loss = loss + config.penalty_weight * terms["penalty"]
            accelerator.backward(loss)
            of_discriminator.step()
            of_discriminator.zero_grad()
        return terms

    def generator_update(real: Tensor, labels: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """One step of the generator; the discriminator only passes gradients on."""
        own_discriminator.requires_grad_(False)
        real_labels, fake_labels = labels_for(config, labels)
        with accelerator.accumulate(generator), accelerator.autocast():
            names = own_generator.path_names() if config.diversity == "hierarchical" else []
            fake, layers = generate(generator, latents, fake_labels, names)
            real_logits = None
            if config.objective == "relativistic":
                real_logits = own_discriminator(real, real_labels).float().repeat(config.fakes_per_real)
            loss = generator_loss(
                fake_logits=own_discriminator(fake, fake_labels).float(),
                real_logits=real_logits,
                objective=config.objective,
            )
            terms = {"generator": loss}
            if config.diversity != "none":
                terms[config.diversity] = diversity_term(
                    config, own_discriminator, latents, fake, fake_labels, layers
                )
                loss = loss + config.diversity_weight * terms[config.diversity]
            accelerator.backward(loss)
            of_generator.step()
            of_generator.zero_grad()
        return terms

    def next_batch() -> tuple[Tensor, Tensor, Tensor]:
        latents = draw_latents(config, config.batch_size * config.fakes_per_real, random)
        return *batches.next(), latents.to(device)

    update_discriminator = Replayed(discriminator_update, enabled=speed.cuda_graphs)
    update_generator = Replayed(generator_update, enabled=speed.cuda_graphs)
    grid = (
        draw_latents(config, 64, torch.Generator().manual_seed(5_000_003)),
        torch.arange(64) % max(1, config.num_classes),
    )
    run = Run(
        folder,
        {"recipe": recipe, "config": asdict(config), "seed": seed},
        parts,
        accelerator,
        every=every,
        checkpoint_minutes=checkpoint_minutes,
        max_minutes=max_minutes,
        sample=lambda: draw(config, average.module, *grid),
        report=report,
    )
    with run:
        for _ in run.steps(config.num_steps):
            terms: dict[str, Tensor] = {}
            for _ in range(config.discriminator_steps * config.accumulation):
                terms = update_discriminator(*next_batch())
            for _ in range(config.accumulation):
                terms = terms | update_generator(*next_batch())
            average.update_parameters(own_generator)
            run.log(terms, num_images=config.batch_size * config.accumulation * config.discriminator_steps)
    return run.finished


def labels_for(config: Config, labels: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Labels of the real images, and of the generated ones: the first real labels, each as often as it has latents."""
    if not config.num_classes:
        return None, None
    num_labels = config.batch_size * config.fakes_per_real // config.latents_per_label
    return labels, labels[:num_labels].repeat_interleave(config.latents_per_label)


def generate(
    generator: Any, latents: Tensor, labels: Tensor | None, names: Sequence[str]
) -> tuple[Tensor, list[Tensor]]:
    """Images, and what the named layers put out on the way."""
    if not names:
        return generator(latents, labels).float(), []
    with record_activations(generator, names) as recorded:
        images = generator(latents, labels)
    return images.float(), [layer.float() for layer in recorded.values()]


@torch.no_grad()
def draw(config: Config, generator: Any, latents: Tensor, labels: Tensor) -> Tensor:
    """Images ``(n, c, h, w)`` in [-1, 1] on the CPU, of a generator in evaluation mode."""
    device = next(generator.parameters()).device
    was_training = generator.training
    generator.eval()
    images = [
        generator(part.to(device), of_part.to(device) if config.num_classes else None).float().cpu()
        for part, of_part in zip(latents.split(500), labels.split(500), strict=True)
    ]
    generator.train(was_training)
    return torch.cat(images)


def trained_generator(config: Config, folder: str | Path) -> tuple[ImageGenerator, dict[str, float]]:
    """The generator of a run's last checkpoint, with averaged weights if it has any; and how long its training took.

    Raises:
        FileNotFoundError: if the run has no checkpoint yet.
    """
    found = read_checkpoint(Path(folder) / "checkpoints")
    if found is None:
        raise FileNotFoundError(f"{folder}: no checkpoint yet; train the run first.")
    step, state = found
    weights = state["shared"]["average"]
    generator, _ = networks(config, seed=0)
    generator.load_state_dict(
        {
            name.removeprefix("module."): weight
            for name, weight in weights.items()
            if name.startswith("module.")
        }
    )
    generator.to("cuda" if torch.cuda.is_available() else "cpu")
    cost = {"train_steps": step, "train_minutes": state["seconds"] / 60}
    return generator, cost | {"steps_per_second": step / max(state["seconds"], 1e-9)}


def evaluate(config: Config, folder: str | Path, seed: int) -> Measured:
    """Draw from a trained generator and compare with test images it never saw, in equal numbers; training images beside it.

    Keeps a sheet ``(6, 10, c, h, w)`` of samples as bytes, a column per class if there are classes.
    """
    (real, labels_real), (floor, labels_floor) = (
        (images[:MOST_COMPARED].float() / 127.5 - 1, labels[:MOST_COMPARED])
        for images, labels in (stored_bytes(config, split) for split in ("test", "train"))
    )
    count = min(config.num_samples, len(real), len(floor))
    generator, cost = trained_generator(config, folder)
    random = torch.Generator().manual_seed(6_000_003 + seed)
    labels = torch.arange(count) % max(1, config.num_classes)
    generated = draw(config, generator, draw_latents(config, count, random), labels)
    classes: dict[str, Any] = {}
    if config.num_classes:
        classes = {"labels_real": labels_real, "labels_generated": labels, "labels_floor": labels_floor}
        classes["class_names"] = describe_images(config.data).class_names
    scores = image_scores(real=real, generated=generated, floor=floor, num_samples=count, **classes)
    rows = min(6, count // 10)
    sheet = ((generated[: 10 * rows] + 1) * 127.5).round().to(torch.uint8).unflatten(0, (rows, 10))
    return Measured(
        values={name: [value] for name, value in (scores | cost).items()},
        n_real=len(training_bytes(config, seed)[0]),
        n_generated=count,
        arrays={"sheet": sheet.numpy()},
    )


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure one model per seed, in folders that do not stay; arrays are those of the first seed."""
    found = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            place = Path(folder) / "run"
            train(config, seed, place, report=lambda line: None)
            found.append(evaluate(config, place, seed))
    return joined(found)


def smoke(config: Config) -> Config:
    """Fifty steps of networks of an eighth of the width, with batches of 16 and one discriminator step."""
    return replace(
        config,
        generator_width=max(8, config.generator_width // 8),
        discriminator_width=max(8, config.discriminator_width // 8),
        batch_size=16,
        discriminator_steps=1,
        num_steps=min(50, config.num_steps),
        num_samples=min(200, config.num_samples),
    )
