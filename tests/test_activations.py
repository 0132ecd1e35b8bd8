"""Recording named layers: what is recorded, through which wrappers, and what is refused."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ndiv_lib import record_activations


class UNet(nn.Module):
    """One level down and up, with a skip and a side head that the forward may leave out."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.middle = nn.LSTM(4, 4, batch_first=True)
        self.up = nn.Conv2d(8, 1, 3, padding=1)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, images):
        down = self.down(images)
        middle = self.middle(down.flatten(2).mT)[0].mT.reshape(down.shape)
        return self.up(torch.cat([down, middle], 1))


def images():
    return torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def test_records_in_the_order_asked_for_with_gradients_and_leaves_no_hook():
    torch.manual_seed(0)
    network = UNet()
    with record_activations(network, ["up", "down.0"]) as recorded:
        outputs = network(images())
    assert list(recorded) == ["up", "down.0"]
    assert recorded["up"] is outputs
    assert_close(recorded["down.0"], network.down[0](images()))
    recorded["down.0"].sum().backward()
    assert network.down[0].weight.grad is not None
    assert not any(layer._forward_hooks for layer in network.modules())


def test_the_latest_output_is_kept_when_a_layer_runs_twice():
    network = nn.Sequential(nn.Linear(2, 2))
    with record_activations(network, ["0"]) as recorded:
        network(torch.zeros(1, 2))
        latest = network(torch.ones(1, 2))
    assert recorded["0"] is latest


def wrapped_inside(network):
    network.down = torch.compile(network.down, backend="eager")
    return network


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda network: torch.compile(network, backend="eager"),
        lambda network: torch.compile(nn.DataParallel(network), backend="eager"),
        wrapped_inside,
    ],
    ids=["parallel", "compiled", "both", "compiled inside"],
)
def test_names_are_the_same_through_wrappers(wrap):
    torch.manual_seed(0)
    network = UNet()
    expected = network.down(images())
    wrapped = wrap(network)
    wrapped(images())  # compiled before anything is recorded
    with record_activations(wrapped, ["down.1", "up"]) as recorded:
        outputs = wrapped(images())
    assert_close(recorded["down.1"], expected)
    assert_close(recorded["up"], outputs)


def test_hooks_are_removed_when_the_block_fails():
    network = UNet()
    with pytest.raises(RuntimeError), record_activations(network, ["up"]):
        network(torch.zeros(1, 5, 6, 6))
    assert not any(layer._forward_hooks for layer in network.modules())


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["dwn.0"], ValueError, r"near matches: 'down.0'"),
        (["nowhere at all"], ValueError, r"near matches: 'down'"),
        (["head"], ValueError, r"not reached: 'head'"),
        (["middle"], TypeError, r"'middle' \(LSTM\) to put out one tensor, got tuple"),
        ([], ValueError, "one or more"),
        (["up", "up"], ValueError, "different"),
    ],
)
def test_bad_names_are_refused(names, error, message):
    network = UNet()
    with pytest.raises(error, match=message), record_activations(network, names):
        network(images())
