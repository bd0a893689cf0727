"""The machine of a run: device, threads, allocator, and its description for the record."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from repro.errors import BadInput
from repro.training.distributed import local_rank

VECTOR_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""What makes training faster if a processor has it, the most powerful first."""


def choose_device(name: str) -> torch.device:
    """The device called `auto` (CUDA if available, else the CPU), `cpu`, `cuda` or `cuda:N`. Raises BadInput.

    Under `torchrun` each process on a machine gets its own GPU, so N cannot be chosen.
    """
    place = local_rank()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if place is not None and name.startswith("cuda:"):
        raise BadInput(f"--device {name}: torchrun gives each process its own GPU; valid here: auto, cuda, cpu")
    if place is not None and name == "cuda":
        name = f"cuda:{place}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise BadInput(f"--device {name} is not a device; valid: auto, cpu, cuda, cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise BadInput(f"--device {name} is not supported; valid: auto, cpu, cuda, cuda:N")
    return device


def choose_devices(names: str) -> list[str]:
    """The devices that runs made side by side take in turn.

    `cuda`, or `auto` if CUDA is available, means every CUDA device. Several may be given: `cuda:0,cuda:2`. Raises
    BadInput.
    """
    devices = [choose_device(name) for name in names.split(",")]
    if len(devices) == 1 and devices[0].type == "cuda" and devices[0].index is None:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(device) for device in devices]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def count_loader_workers() -> int:
    """How many workers decode files for this process: the processors it may use divided by the job's processes here."""
    return max(1, processors() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def use_exact_kernels() -> None:
    """Make float32 mean float32 on CUDA too (no TF32 in matrix products or convolutions), and make steps deterministic:
    some of cuDNN's convolutions add in a varying order, so that a resumed run would give other results."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory in the process.

    By default, memory above a threshold is mapped anew from the kernel for every use and returned at once, which for
    the activations of ResNets costs a noticeable share of a training step on CPUs. LeNet-5's are too small to benefit
    (`repro bench lenet`). Does nothing if the C library is not glibc.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>
    libc.mallopt(mmap_max, 0)
    libc.mallopt(trim_threshold, 2**31 - 1)


def describe(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, for `environment.json`."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def _processor() -> str:
    """The model, as in "AMD EPYC, avx2": virtual machines show one model for processors of very different speeds."""
    if sys.platform != "linux":
        return platform.processor() or platform.machine()
    lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    instructions = [name for name in VECTOR_INSTRUCTIONS if name in about.get("flags", "").split()]
    return ", ".join([about.get("model name", platform.machine()), *instructions[:1]])
