"""Settings of all tests: one thread, so that two workers share two cores."""

import torch

torch.set_num_threads(1)
