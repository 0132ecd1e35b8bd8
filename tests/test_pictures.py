"""Image grids: where each image lies, and what is encoded is what was given."""

import io

import numpy as np
import pytest

from ndiv_lib.reporting.pictures import encode_image_grid, image_grid


def test_rows_are_conditions_and_ink_is_dark():
    images = -np.ones((2, 3, 4, 4))
    images[1, 2] = 1
    grid = image_grid(images, gap=1)
    assert grid.shape == (10, 15)
    assert (grid[5:9, 10:14] == 0).all()
    assert (grid == 255).sum() == 150 - 16


def test_encoding_is_lossless():
    image = pytest.importorskip("PIL.Image")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 8, 8))
    decoded = np.asarray(image.open(io.BytesIO(encode_image_grid(images, scale=2))).convert("L"))
    np.testing.assert_array_equal(decoded[::2, ::2], image_grid(images))


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="rows, columns"):
        image_grid(np.zeros((10, 64)))
