"""What all tests share: one thread per process, so that parallel test workers do not fight for the processors."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
