"""What the README promises runs as printed."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_examples_run_and_reach_the_generator():
    first, second, third = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    scope = {}
    torch.manual_seed(0)
    for example in (first, second, third):
        assert len([line for line in example.splitlines() if line.strip()]) <= 10, "ten lines, not more"
    exec(compile(first, "README.md", "exec"), scope)
    diversity, latents, images = scope["diversity"], scope["latents"], scope["images"]
    torch.testing.assert_close(scope["loss"], scope["adversarial_loss"] + diversity(latents, images))
    assert float(diversity(latents, torch.zeros_like(images))) > 1, "a collapsed generator would notice"
    gradients = [parameter.grad for parameter in scope["generator"].parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)

    exec(compile(second, "README.md", "exec"), scope)
    scope["loss"].backward()
    assert all(parameter.grad is not None for parameter in scope["generator"].parameters())
    assert scope["images_a"].shape == (32, 3 * 16 * 16)

    exec(compile(third, "README.md", "exec"), scope)
    assert scope["answers"].shape == (32, 4, 5)
    assert scope["report"].costs[-1] < scope["report"].costs[0], "the search lowers the cost"


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_what_it_links_to_is_there(target):
    assert (ROOT / target).exists()


def test_every_notebook_has_its_row():
    notebooks = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks == set(re.findall(r"notebooks/(\w+\.ipynb)", README))
