"""The scores of a set of generated images: one call, equal numbers of real and generated images, and the floor beside them.

Every score of the generated images is also computed for other *real* images, under the same name with ``floor_`` in front: what
a perfect generator would get. A Fréchet distance is named for its network; only Inception's is FID.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_two_sets
from ndiv_lib.metrics.bins import SAMPLES_PER_BIN, ndb
from ndiv_lib.metrics.features import extract_features
from ndiv_lib.metrics.frechet import frechet_distance, kernel_distance
from ndiv_lib.metrics.perceptual import lpips_diversity
from ndiv_lib.metrics.precision_recall import precision_recall_density_coverage

NEIGHBORS = 5  # of precision, recall and coverage; the choice of the latter's paper
MOST_BINS = 100  # what the authors of NDB take
_KEEP = 4  # sets of images whose features stay in memory: a training and a test set, in two networks
_kept: OrderedDict[tuple[str, str], Tensor] = OrderedDict()


def image_scores(
    *,
    real: Tensor,
    generated: Tensor,
    labels_real: Tensor | None = None,
    labels_generated: Tensor | None = None,
    floor: Tensor | None = None,
    labels_floor: Tensor | None = None,
    class_names: Sequence[str] | None = None,
    num_samples: int = 10_000,
    num_neighbor_samples: int = 2_000,
    num_bins: int | None = None,
    lpips_samples: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """Compare generated images with as many real ones, and other real images with the same ones.

    * ``frechet_efficientnet``: Fréchet distance in the features of EfficientNet-Lite0. It is not FID, and has another scale.
    * ``fid``: only where Inception's weights and the package torch-fidelity are at hand.
    * ``kernel_efficientnet``: the kernel distance in the same features, about 0 for equal distributions at every size; and
      ``precision``, ``recall``, ``coverage`` from 5 neighbors. All four are of the first ``num_neighbor_samples`` images.
    * with labels, for each class ``ndb_<class>`` and ``jsd_<class>`` in pixels, and their means ``ndb`` and ``jsd``; and
      ``lpips``, the mean distance of two images of a class (version 0.1, SqueezeNet), where SqueezeNet's weights are at hand.
    * with ``floor``, all of these once more as ``floor_...`` for those real images in place of the generated ones. For recall,
      coverage and LPIPS it is rather a ceiling.
    * ``n_real`` and ``n_generated``, which are equal, ``n_neighbor``, and with labels ``n_bins``: how many there were.

    Larger sets are thinned at random to one size, with labels each class to one size. The features of the latest few sets are
    kept in memory, so that real images go through a network once.

    Args:
        real: ``(n, channels, height, width)`` in [-1, 1]; 3 channels, or 1 which networks see three times.
        generated: ``(m, channels, height, width)`` likewise.
        labels_real: ``(n,)`` integers.
        labels_generated: ``(m,)`` likewise, of the same classes.
        floor: real images that are not among ``real``: of the training set, if ``real`` are of the test set.
        labels_floor: their labels.
        class_names: the name of each label, by default its number.
        num_samples: at most so many images of each set.
        num_neighbor_samples: at most so many for what takes the distances of all pairs.
        num_bins: of a class, by default one for every ten images, at most 100. Below twenty images there are none, and no NDB.
        lpips_samples: at most so many images of a class for LPIPS.
        seed: of thinning and bins.

    Returns:
        Scores by name, without those whose weights are not at hand.

    Raises:
        TypeError: for images that are not floating point.
        ValueError: for images that do not fit together, are not finite or outside of [-1, 1], fewer than 6 of a set, classes that
            are not in every set, or labels of one set and not of another.
        ImportError: without the packages of the extra ``metrics``.

    Example:
        >>> image_scores(real=test, generated=made, floor=train)["frechet_efficientnet"]  # doctest: +SKIP
        231.4
    """
    sets = {"real": (real, labels_real), "generated": (generated, labels_generated)}
    if floor is not None:
        sets["floor"] = (floor, labels_floor)
    for images, _ in sets.values():
        check_two_sets(
            real, images, fewest=NEIGHBORS + 1, reason=f"each is compared with its {NEIGHBORS} nearest"
        )
    thinned = _thin(sets, num_samples, seed)
    first, labels = thinned.pop("real")
    scores = {"n_real": float(len(first)), "n_generated": float(len(thinned["generated"][0]))}
    for name, (second, labels_second) in thinned.items():
        found = _compare_sets(first, second, num_neighbor_samples)
        if labels is not None and labels_second is not None:
            by_class = (_by_class(first, labels, class_names), _by_class(second, labels_second, class_names))
            found |= _compare_classes(*by_class, num_bins, seed) | _lpips(by_class[1], lpips_samples)
        scores |= {f"floor_{score}" if name == "floor" else score: value for score, value in found.items()}
    return scores


def _compare_sets(real: Tensor, generated: Tensor, num_neighbor_samples: int) -> dict[str, float]:
    vectors = [_features(images, "efficientnet") for images in (real, generated)]
    values = {"frechet_efficientnet": _frechet(*vectors)}
    with contextlib.suppress(FileNotFoundError, ImportError):  # then there is no FID
        values["fid"] = _frechet(*(_features(images, "inception") for images in (real, generated)))
    first, second = (rows[:num_neighbor_samples] for rows in vectors)
    values["kernel_efficientnet"] = kernel_distance(real=first, generated=second, features="pixels")
    neighbors = precision_recall_density_coverage(real=first, generated=second, k=NEIGHBORS)
    values |= {name: getattr(neighbors, name) for name in ("precision", "recall", "coverage")}
    return values | {"n_neighbor": float(len(first))}


def _frechet(real: Tensor, generated: Tensor) -> float:
    return frechet_distance(real=real, generated=generated, features="pixels")  # of vectors, as they are


def _compare_classes(
    real: dict[str, Tensor], generated: dict[str, Tensor], num_bins: int | None, seed: int
) -> dict[str, float]:
    """NDB and JSD of every class in pixels, and their means over classes."""
    per_class = min(map(len, real.values()))
    k = min(MOST_BINS, per_class // SAMPLES_PER_BIN) if num_bins is None else num_bins
    if k < 2:
        return {}
    values: dict[str, float] = {}
    for name in real:
        bins = ndb(real=real[name], generated=generated[name], num_bins=k, seed=seed)
        values |= {f"ndb_{name}": float(bins.num_different_bins), f"jsd_{name}": bins.js_divergence}
    for score in ("ndb", "jsd"):
        values[score] = sum(values[f"{score}_{name}"] for name in real) / len(real)
    return values | {"n_bins": float(k)}


def _lpips(generated: dict[str, Tensor], lpips_samples: int) -> dict[str, float]:
    """Mean LPIPS of two images of a class; nothing without the weights, or below the 17 pixels that they need."""
    if next(iter(generated.values())).shape[-1] < 17:
        return {}
    try:
        found = [lpips_diversity(_rgb(one[:lpips_samples]), net="squeeze") for one in generated.values()]
    except FileNotFoundError:
        return {}
    return {"lpips": sum(map(float, found)) / len(found)}


def _thin(
    sets: dict[str, tuple[Tensor, Tensor | None]], num_samples: int, seed: int
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """As many images of every set; with labels, as many of every class, in mixed order."""
    labeled = {name for name, (_, labels) in sets.items() if labels is not None}
    if labeled and labeled != set(sets):
        raise ValueError(f"expected labels of all of {', '.join(sets)}, or of none; got those of {labeled}.")
    random = torch.Generator().manual_seed(seed)
    if not labeled:
        size = min(num_samples, *(len(images) for images, _ in sets.values()))
        picked = {name: _pick(len(images), size, random) for name, (images, _) in sets.items()}
    else:
        kinds = {name: set(labels.tolist()) for name, (_, labels) in sets.items() if labels is not None}
        if len({frozenset(found) for found in kinds.values()}) > 1:
            raise ValueError(f"expected the same classes in every set, got {kinds}.")
        classes = sorted(kinds["real"])
        where = {
            name: [(labels == c).nonzero().flatten().cpu() for c in classes]
            for name, (_, labels) in sets.items()
            if labels is not None
        }
        per_class = min(len(rows) for of_set in where.values() for rows in of_set)
        per_class = min(per_class, num_samples // len(classes))
        picked = {
            name: torch.stack([rows[_pick(len(rows), per_class, random)] for rows in of_set], 1).flatten()
            for name, of_set in where.items()
        }
    return {
        name: (
            images[picked[name].to(images.device)],
            None if labels is None else labels[picked[name].to(labels.device)],
        )
        for name, (images, labels) in sets.items()
    }


def _pick(size: int, count: int, random: torch.Generator) -> Tensor:
    """``count`` of ``size`` positions; all of them in their order, if that is what it takes."""
    return torch.arange(size) if count == size else torch.randperm(size, generator=random)[:count]


def _by_class(images: Tensor, labels: Tensor, class_names: Sequence[str] | None) -> dict[str, Tensor]:
    classes = sorted(set(labels.tolist()))
    names = [str(label) if class_names is None else class_names[label] for label in classes]
    return {
        name: images[labels.to(images.device) == label] for name, label in zip(names, classes, strict=True)
    }


def _features(images: Tensor, network: Literal["efficientnet", "inception"]) -> Tensor:
    """The images' features, on the CPU; those of the latest few sets are kept, by their content."""
    key = (network, hashlib.blake2b(images.detach().cpu().contiguous().numpy().tobytes()).hexdigest())
    if key not in _kept:
        _kept[key] = extract_features(_rgb(images), network).cpu()
    _kept.move_to_end(key)
    while len(_kept) > _KEEP:
        _kept.popitem(last=False)
    return _kept[key]


def _rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.ndim == 4 and images.shape[1] == 1 else images
