"""Solids in the unit ball for the chapter on spectral moments, and pictures of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib.data.images import data_root
from ndiv_lib.spectral import ZernikeTransform


def chair(points: Tensor, seed: int) -> Tensor:
    """Whether points ``(..., 3)`` lie in a chair of six boxes, whose proportions the seed draws; it fits into the unit ball."""
    random = torch.Generator().manual_seed(seed)
    width, thick, leg, seat, back = (
        low + (high - low) * float(torch.rand(1, generator=random))
        for low, high in ((0.34, 0.46), (0.06, 0.1), (0.06, 0.1), (-0.2, 0.0), (0.5, 0.72))
    )
    x, y, z = points.unbind(-1)
    feet = (x.abs() > width - 2 * leg) & (y.abs() > width - 2 * leg) & (z < seat) & (z > -0.7)
    plate = (z - seat).abs() < thick
    rest = (y > width - 2 * thick) & (z > seat) & (z < back)
    return (x.abs() < width) & (y.abs() < width) & (feet | plate | rest)


def modelnet(points: Tensor, seed: int) -> Tensor:
    """The voxel of ModelNet10 at each point: chairs for even seeds, monitors for odd ones, centered and as large as the ball.

    Raises:
        FileNotFoundError: without ``modelnet10_voxels/voxels32.npz`` under ``$NDIV_DATA``: packed grids ``chair`` and
            ``monitor``, ``(n, 4096)`` bytes each (ModelNet, Princeton: for academic research).
    """
    with np.load(data_root() / "modelnet10_voxels" / "voxels32.npz") as stored:
        packed = stored["monitor" if seed % 2 else "chair"][1 + seed // 2 :: 37]
    grid = next(grid for row in packed if (grid := np.unpackbits(row).reshape(32, 32, 32)).any())
    corners = np.argwhere(np.pad(grid, 1)[:-1, :-1, :-1] | np.pad(grid, 1)[1:, 1:, 1:])
    center = (corners.min(0) + corners.max(0)) / 2
    reach = np.linalg.norm(corners - center, axis=1).max()
    cell = (points * reach + torch.from_numpy(center)).floor().long()
    inside = ((cell >= 0) & (cell < 32)).all(-1)
    cell = cell.clamp(0, 31)
    return inside & torch.from_numpy(grid).bool()[cell[..., 0], cell[..., 1], cell[..., 2]]


def view(function: Callable[[Tensor], Tensor], *, size: int = 160, turn: float = -0.9) -> Tensor:
    """A picture ``(size, size)`` in [0, 1] of the surface where a function crosses one half, seen from above.

    Args:
        function: values of points ``(..., 3)``.
        size: pixels of a side, which shows [-0.9, 0.9].
        turn: azimuth of the viewer in radians.
    """
    tilt, along = 0.45, torch.linspace(-0.9, 0.9, size, dtype=torch.float64)
    to_viewer = torch.tensor(
        [math.cos(tilt) * math.cos(turn), math.cos(tilt) * math.sin(turn), math.sin(tilt)]
    )
    right = torch.tensor([-math.sin(turn), math.cos(turn), 0.0])
    frame = torch.stack([right, torch.linalg.cross(to_viewer, right), to_viewer]).double()
    depth = along.flip(0)
    rays = torch.stack(torch.meshgrid(depth, along.flip(0), along, indexing="ij")[::-1], -1) @ frame
    seen = function(rays)  # depth, row, column
    hit = seen > 0.5
    first = hit.int().argmax(0)
    before = seen.gather(0, (first - 1).clamp(min=0)[None])[0]
    after = seen.gather(0, first[None])[0]
    fraction = ((0.5 - before) / (after - before).clamp(min=1e-9)).clamp(0, 1)
    surface = depth[first] + (1 - fraction) * (depth[0] - depth[1])
    smooth = F.avg_pool2d(surface[None, None], 3, 1, 1)[0, 0]
    down, across = torch.gradient(smooth, spacing=float(along[1] - along[0]))
    normal = F.normalize(torch.stack([-across, down, torch.ones_like(down)]), dim=0)
    light = F.normalize(torch.tensor([-0.4, 0.7, 0.6], dtype=torch.float64), dim=0)
    shade = 0.3 + 0.6 * torch.einsum("c,cij->ij", light, normal).clamp(min=0)
    return torch.where(hit.any(0), shade, 1.0)


def look_up(values: Tensor, transform: ZernikeTransform, points: Tensor) -> Tensor:
    """Values between the transform's points, linearly; 0 outside the ball."""
    radius = points.norm(dim=-1)
    polar = torch.acos((points[..., 2] / radius.clamp(min=1e-12)).clamp(-1, 1))
    azimuth = torch.atan2(points[..., 1], points[..., 0]) % (2 * math.pi)
    shells, rows, columns = values.shape
    place = np.interp(radius.numpy(), transform.radius.numpy(), np.arange(shells))
    index = [
        azimuth / (2 * math.pi) * columns,
        polar / math.pi * rows - 0.5,
        torch.from_numpy(place).to(radius),
    ]
    wrapped = torch.cat([values, values[..., :1]], -1)
    last = (columns, rows - 1, shells - 1)
    grid = torch.stack([2 * i / end - 1 for i, end in zip(index, last, strict=True)], -1)
    flat = grid.reshape(1, 1, 1, -1, 3).to(values)
    found = F.grid_sample(wrapped[None, None], flat, padding_mode="border", align_corners=True)
    return torch.where(radius <= 1, found.reshape(radius.shape), 0.0)
