"""Gathered batches, and whole runs of two processes over gloo; see `tests/two_processes.py` for what they do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ndiv_lib.training import gather_batch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes saw; one start for all tests of this file."""
    folder = tmp_path_factory.mktemp("two")
    script = [
        sys.executable,
        ROOT / "data_scripts" / "cifar10.py",
        "--twin",
        "--twin-size",
        "60",
        "--to",
        folder,
    ]
    subprocess.run(script, check=True, capture_output=True)
    command = [sys.executable, "-m", "tests.two_processes", folder]
    environment = os.environ | {"NDIV_DATA": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "FutureWarning" not in done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.float64"])
def test_gathered_ndiv_is_that_of_one_process(two, dtype):
    """The loss and, after DDP has averaged them, all gradients, to 1e-6."""
    assert two["gathered gradients"] == [0, 0]
    for process in two["of gathered gradients"]:
        found = process[f"gathered {dtype}"]
        assert found["loss"] == pytest.approx(found["loss of one"], rel=1e-6) and found["loss"] > 0.01
        assert found["gradients"] < 1e-6


def test_local_ndiv_is_another_loss(two):
    first, second = (process["local torch.float64"] for process in two["of gathered gradients"])
    assert abs(first["loss"] - first["loss of one"]) > 1e-3 and abs(first["loss"] - second["loss"]) > 1e-4
    assert first["gradients"] > 1e-3


def test_tensors_of_every_kind_are_gathered_in_order(two):
    assert two["gathered tensors"] == [0, 0]
    rows = torch.cat([torch.arange(6).view(2, 3) + 10 * rank for rank in range(2)])
    wide = torch.cat([(torch.arange(12.0).view(3, 4) + 100 * rank).mT for rank in range(2)])
    for process in two["of gathered tensors"]:
        assert process["integers"] == rows.tolist() and process["half"] == rows.tolist()
        assert process["booleans"] == (rows > 3).tolist()
        assert process["wide"] == wide.tolist()


def test_a_gradient_that_is_shared_stays_what_it_was(two):
    """Summing over processes must not write into the gradient of a tensor that was not gathered."""
    for rank, process in enumerate(two["of gathered tensors"]):
        assert process["mine"] == [[5.0] * 3] * 2  # 2 from the first process, 3 from the second
        assert process["other"] == [[2.0 + rank] * 3] * 4


def test_one_process_gathers_nothing():
    tensor = torch.ones(4, 2, requires_grad=True)
    assert gather_batch(tensor) is tensor
    with pytest.raises(TypeError, match=r"expected tensor to be a torch\.Tensor, got list"):
        gather_batch([1.0])
    with pytest.raises(ValueError, match="got a scalar; gather samples, not their loss"):
        gather_batch(torch.tensor(1.0))


def test_two_processes_train_one_network(two):
    assert two["peaceful"] == [0, 0]
    assert two["both hold equal weights"] and two["both draw other latents"] and two["both draw other places"]


def test_two_processes_go_on_exactly(two):
    assert two["both random states are kept"]
    assert two["first sitting"] == [False, False]
    assert two["two sittings are as one"] == [True, True]


def test_when_one_process_dies_the_other_ends_and_says_so(two):
    assert two["death"] == [0, -9]  # the first caught what it heard
    assert two["seconds to notice"] < 60
    error, where, hint = two["heard of the death"].splitlines()
    assert error == "RuntimeError" and "was at step 3; its last checkpoint is of step 2" in where
    assert hint == "One of several processes has failed; look at the first error among all their outputs."
    assert two["kept at death"] == 2
    assert two["goes on after death"] == [True, True]
