"""Endless shuffled batches whose place can be saved: images stay bytes on the device until a batch is used."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


class Batches:
    """Shuffled batches without replacement, epoch after epoch; the order depends on the seed alone.

    Image sets of this project fit into the memory of a GPU as bytes (CIFAR-10: 150 MB, CelebA at 64 pixels: 2.5 GB), so a batch
    is one indexed read on the device. Several processes see disjoint parts of one order, as if one process drew it all. What is
    left of an epoch when no whole batch fits is dropped.

    Args:
        images: bytes ``(n, channels, height, width)``.
        labels: integers ``(n,)``.
        batch_size: samples per process and batch.
        seed: of the order.
        process_index: of this process.
        num_processes: that share the order.
        device: where the set is kept and batches come from.

    Raises:
        TypeError: for images that are not bytes.
        ValueError: for fewer images than all processes' batches take, or labels of another number.

    Example:
        >>> import torch
        >>> batches = Batches(torch.zeros(10, 3, 8, 8, dtype=torch.uint8), torch.arange(10), batch_size=4, seed=0)
        >>> images, labels = batches.next()
        >>> images.shape, float(images.max()), labels.shape
        (torch.Size([4, 3, 8, 8]), -1.0, torch.Size([4]))
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        batch_size: int,
        seed: int,
        process_index: int = 0,
        num_processes: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if images.dtype != torch.uint8:
            raise TypeError(f"expected images as bytes (torch.uint8), got {images.dtype}; see load_bytes().")
        if len(images) < batch_size * num_processes or len(labels) != len(images):
            raise ValueError(
                f"expected at least {batch_size * num_processes} images (a batch of {batch_size} for each of {num_processes} "
                f"processes) with one label each, got {len(images)} images and {len(labels)} labels; take a smaller batch."
            )
        self.images, self.labels = images.to(device), labels.to(device)
        self.batch_size, self.seed = batch_size, seed
        self.process_index, self.num_processes = process_index, num_processes
        self.epoch = self.position = 0
        self._order = self._shuffled()

    def next(self) -> tuple[Tensor, Tensor]:
        """Images ``(batch_size, channels, height, width)`` in [-1, 1] and labels ``(batch_size,)``."""
        together = self.batch_size * self.num_processes
        if self.position + together > len(self._order):
            self.epoch, self.position = self.epoch + 1, 0
            self._order = self._shuffled()
        start = self.position + self.process_index * self.batch_size
        index = self._order[start : start + self.batch_size]
        self.position += together
        return self.images[index].float().div_(127.5).sub_(1), self.labels[index]

    def state_dict(self) -> dict[str, int]:
        """Epoch and position in it, and a checksum of the images."""
        return {"epoch": self.epoch, "position": self.position, "images": self._checksum()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a saved place.

        Raises:
            ValueError: if it is a place among other images.
        """
        if state["images"] != self._checksum():
            raise ValueError(
                "expected the images that this run began with, got others; is $NDIV_DATA the folder of then, and was the "
                "set (or its twin) not prepared anew?"
            )
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffled()

    def _checksum(self) -> int:
        return zlib.crc32(self.images[:1000].cpu().contiguous().numpy().data, len(self.images))

    def _shuffled(self) -> Tensor:
        random = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        return torch.randperm(len(self.images), generator=random).to(self.images.device)
