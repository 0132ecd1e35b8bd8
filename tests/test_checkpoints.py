"""Checkpoints: every value comes back bit by bit, and whatever happens while writing, what lies there is whole."""

import errno
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ndiv_lib.training import CheckpointError, read_checkpoint, write_checkpoint
from ndiv_lib.training.checkpoints import checkpoints, remove_unfinished
from ndiv_lib.training.random_states import random_states, set_random_states
from tests.processes import fork, kill_after, said_by_child

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]


def written_and_read(folder, state):
    write_checkpoint(folder, 3, state)
    step, back = read_checkpoint(folder)
    assert step == 3
    return back


def as_bytes(tensor):
    return tensor.clone(memory_format=torch.contiguous_format).reshape(-1, 1).view(torch.uint8)


def check_equal(back, value):
    """Of one type and value all the way down; tensors bit by bit, NaN included."""
    if isinstance(value, torch.Tensor):
        assert back.dtype == value.dtype and back.shape == value.shape
        assert torch.equal(as_bytes(back), as_bytes(value))
    elif isinstance(value, dict):
        assert list(back) == list(value) and list(map(type, back)) == list(map(type, value))
        for key in value:
            check_equal(back[key], value[key])
    elif isinstance(value, list | tuple):
        assert type(back) is type(value) and len(back) == len(value)
        for one, other in zip(back, value, strict=True):
            check_equal(one, other)
    else:
        assert type(back) is type(value)
        assert back == value or (math.isnan(back) and math.isnan(value))
        assert not isinstance(value, float) or math.copysign(1, back) == math.copysign(1, value)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    bits = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    dtype = draw(st.sampled_from(DTYPES))
    tensor = (bits[..., 0] > 127) if dtype == torch.bool else bits.view(dtype)[..., 0]  # NaN and all
    return tensor.mT if draw(st.booleans()) and tensor.ndim > 1 else tensor


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=5), values, max_size=3))
def test_every_state_comes_back(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("state")
    check_equal(written_and_read(folder, state), state)
    shutil.rmtree(folder)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_kind(tmp_path, dtype):
    bits = torch.randint(0, 256, (2, 3, 4, 5, 16), dtype=torch.uint8)
    whole = (bits[..., 0] > 127) if dtype == torch.bool else bits.view(dtype)[..., 0]
    state = {
        "contiguous": whole.contiguous(),
        "strided": whole[:, ::2, 1:],
        "expanded": whole[:1].expand(5, -1, -1, -1),
        "0-d": whole[0, 0, 0, 0],
        "empty": whole[:0],
        "channels last": whole.to(memory_format=torch.channels_last),
    }
    back = written_and_read(tmp_path, state)
    check_equal(back, state)
    assert back["channels last"].stride() == state["channels last"].stride()
    assert all(tensor.is_contiguous() for name, tensor in back.items() if name != "channels last")


def test_a_part_of_a_large_tensor_is_saved_alone(tmp_path):
    back = written_and_read(tmp_path, {"part": torch.zeros(1000, 1000)[3]})
    assert back["part"].untyped_storage().nbytes() == 4000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 6000


def test_weights_and_optimizer_go_on_alike(tmp_path):
    """Adam's state has integers as keys; tied weights are one tensor before and after."""

    def network():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        layers[2].weight = layers[0].weight
        return layers, torch.optim.Adam(layers.parameters(), fused=True)

    def train(layers, optimizer, steps):
        for _ in range(steps):
            layers(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    first, of_first = network()
    train(first, of_first, 3)
    state = {"network": first.state_dict(), "adam": of_first.state_dict(), "random": random_states()}
    back = written_and_read(tmp_path, state)
    train(first, of_first, 3)

    second, of_second = network()
    second.load_state_dict(back["network"])
    of_second.load_state_dict(back["adam"])
    set_random_states(back["random"])
    train(second, of_second, 3)
    assert second[2].weight is second[0].weight
    check_equal(dict(second.state_dict()), dict(first.state_dict()))
    check_equal(of_second.state_dict(), of_first.state_dict())


class Anything:
    pass


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"x": [Anything()]}, "got Anything; nothing is pickled"),
        ({"x": {1, 2}}, "got set"),
        ({"x": b"bytes"}, "got bytes"),
        ({"x": print}, "got builtin_function_or_method"),
        ({"x": {(1, 2): 3}}, r"keys of a state, got \(1, 2\)"),
        ({"x": {1.5: 3}}, r"keys of a state, got 1\.5"),
    ],
)
def test_nothing_is_pickled(tmp_path, state, said):
    with pytest.raises(TypeError, match=said):
        write_checkpoint(tmp_path / "checkpoints", 1, state)
    assert not list(tmp_path.iterdir())


def numbered(step):
    return {"weights": torch.full((100,), float(step)), "step": step}


def check_newest(folder, step):
    found, state = read_checkpoint(folder, report=lambda line: pytest.fail(line))
    assert found == step
    check_equal(state, numbered(step))


def names(folder):
    return [path.name for path in checkpoints(folder)]


def test_the_newest_two_are_kept(tmp_path):
    for step in (5, 10, 15, 20):
        assert write_checkpoint(tmp_path, step, numbered(step)).name == f"step-{step:08d}"
    assert names(tmp_path) == ["step-00000015", "step-00000020"]
    check_newest(tmp_path, 20)
    write_checkpoint(tmp_path, 25, numbered(25), keep=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000025"]
    assert sorted(path.name for path in (tmp_path / "step-00000025").iterdir()) == [
        "state.json",
        "tensors.safetensors",
    ]


def test_no_checkpoint_yet(tmp_path):
    assert read_checkpoint(tmp_path) is None
    assert read_checkpoint(tmp_path / "nowhere") is None


# --- damage -----------------------------------------------------------------------------------------------------------


def shorten(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def change_a_number(path):
    text = path.read_text()
    assert '["step", 20]' in text
    path.write_text(text.replace('["step", 20]', '["step", 21]'))


DAMAGE = [
    *itertools.product(("state.json", "tensors.safetensors"), (shorten, flip_a_bit, os.remove)),
    ("state.json", change_a_number),
    ("state.json", lambda path: path.write_text("[]")),
    ("state.json", lambda path: path.write_text("{}")),
    ("state.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ("", shutil.rmtree),
]


@pytest.mark.parametrize(("file", "damage"), DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_said(tmp_path, file, damage):
    for step in (10, 20):
        write_checkpoint(tmp_path, step, numbered(step))
    damage(tmp_path / "step-00000020" / file)
    said = []
    step, state = read_checkpoint(tmp_path, report=said.append)
    assert step == 10
    check_equal(state, numbered(10))
    if file:
        assert len(said) == 1 and "step-00000020: damaged (" in said[0] and "going back" in said[0]

    for step in (15, 20):  # the run goes on from there, and a damaged checkpoint takes no good one's place
        write_checkpoint(tmp_path, step, numbered(step))
        check_newest(tmp_path, step)
        assert len(names(tmp_path)) == 2


def test_no_whole_checkpoint_is_an_error(tmp_path):
    for step in (10, 20):
        shorten(write_checkpoint(tmp_path, step, numbered(step)) / "tensors.safetensors")
    with pytest.raises(CheckpointError, match="no whole checkpoint among 2; remove them to start anew"):
        read_checkpoint(tmp_path)


def test_another_format_is_an_error_and_not_damage(tmp_path):
    place = write_checkpoint(tmp_path, 10, numbered(10))
    document = json.loads((place / "state.json").read_text())
    (place / "state.json").write_text(json.dumps(document | {"format": 7}))
    with pytest.raises(
        CheckpointError, match="expected a checkpoint of format 1, got format 7; read it with"
    ):
        read_checkpoint(tmp_path)


# --- what may happen while writing --------------------------------------------------------------------------------------


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir"])
def test_a_full_disk_is_said_and_nothing_lost(tmp_path, monkeypatch, call):
    for step in (10, 20):
        write_checkpoint(tmp_path, step, numbered(step))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, no_space)
        with pytest.raises(CheckpointError) as caught:
            write_checkpoint(tmp_path, 30, numbered(30))
    for part in ("step 30", "No space left", "Kept: step-00000010, step-00000020", "it takes 1 MB"):
        assert part in str(caught.value)
    assert len(list(tmp_path.iterdir())) == 2
    check_newest(tmp_path, 20)
    write_checkpoint(tmp_path, 30, numbered(30))  # once there is room again
    check_newest(tmp_path, 30)


def test_a_write_that_the_system_refuses_half_way(tmp_path):
    """A real limit on the size of files, which ends a write in the middle, as a quota does."""
    write_checkpoint(tmp_path, 10, numbered(10))

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_checkpoint(tmp_path, 20, {"weights": torch.zeros(2**20)})
        except CheckpointError as error:
            return str(error)
        return "nothing was raised"

    said = said_by_child(limited)
    for part in ("step 20", "File too large", "Kept: step-00000010", "it takes 5 MB"):
        assert part in said
    assert names(tmp_path) == ["step-00000010"]
    check_newest(tmp_path, 10)


def test_killed_while_writing(tmp_path):
    """Twelve kills at random moments of one write after another."""

    def write_on():
        start, _ = read_checkpoint(tmp_path)
        for step in itertools.count(start + 1):
            write_checkpoint(tmp_path, step, numbered(step) | {"more": torch.zeros(50_000)})

    write_checkpoint(tmp_path, 1, numbered(1) | {"more": torch.zeros(1)})
    draws, reached = random.Random(0), 0
    for _ in range(12):
        assert kill_after(fork(write_on), draws.uniform(0.02, 0.15))
        step, state = read_checkpoint(tmp_path, report=lambda line: pytest.fail(line))
        assert step >= reached
        del state["more"]
        check_equal(state, numbered(step))
        reached = step
        remove_unfinished(tmp_path)
        assert len(list(tmp_path.iterdir())) == len(names(tmp_path)) <= 3
    assert reached > 1
