"""A GPU simulated on the CPU: real numbers, under a GPU's rules for which tensors may meet.

Under `SimulatedGPU`, a tensor that is moved to `cuda`, created on it or computed from such a tensor reports `cuda:0` as
its device. Whatever a real GPU refuses raises an error: tensors on both devices in one operation, a generator on the
other device, `numpy()`. Whatever makes the host wait for the GPU is recorded in `waits`: copies in either direction,
and every question whose answer depends on values (`item`, a mask as index). What a real GPU adds in a varying order
raises an error too (in forward passes; torch does not report the operations of backward passes).

The simulation does not know whether a GPU has a kernel, how it rounds or how fast it is. Of torch functions that are
written in Python, it sees only the arguments and results.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("cuda:0")
CPU = torch.device("cpu")

ASK_FOR_VALUES = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "equal", "allclose"}
IN_ANY_ORDER = {"index_add", "index_add_", "scatter_add", "scatter_add_", "bincount", "histc"}
ASK_FOR_VALUES |= {"nonzero", "masked_select", "unique", "argwhere"}  # the values decide the shape of the result
INDEXING = {"__getitem__", "__setitem__", "index_put_", "index_put"}
TAKE_BOTH = {"copy_", "__set__", "_has_compatible_shallow_copy_type"}
TAKE_BOTH |= {"_pack_padded_sequence", "_pad_packed_sequence", "lstm"}  # a real GPU, too, takes lengths on the CPU


class _Generator(torch.Generator):
    """A generator that draws on the CPU, whatever device it reports."""

    def __new__(cls, device: torch.device | str = CPU) -> "_Generator":
        return super().__new__(_GPUGenerator if torch.device(device).type == "cuda" else cls, CPU)  # type: ignore[call-arg]


class _GPUGenerator(_Generator):
    device = GPU
    states: ClassVar[dict[bytes, Tensor]] = {}

    def get_state(self) -> Tensor:
        """16 bytes, as on a GPU: here the hash of the state on the CPU, whose size each kind of device insists on."""
        state = super().get_state()
        digest = hashlib.md5(state.numpy().tobytes()).digest()
        self.states[digest] = state
        return torch.tensor(list(digest), dtype=torch.uint8)

    def set_state(self, state: Tensor) -> "_GPUGenerator":
        digest = bytes(state.tolist())
        if len(digest) != 16:
            raise RuntimeError("RNG state is wrong size")
        super().set_state(self.states[digest])
        return self


class SimulatedGPU(TorchFunctionMode):
    """See above. waits: the names of the operations that made the host wait, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.waits: list[str] = []
        monkeypatch.setattr(torch, "Generator", _Generator)
        monkeypatch.setattr(Tensor, "_make_subclass", staticmethod(_as_parameter))
        monkeypatch.setattr(torch.backends.cudnn, "is_acceptable", lambda tensor: False)  # noqa: ARG005
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "simulated GPU")  # noqa: ARG005
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())  # noqa: ARG005
        monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))  # noqa: ARG005

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = func.__name__, dict(kwargs or {})
        if name == "__get__" and func.__self__ is Tensor.device:  # type: ignore[attr-defined]
            return GPU if is_on_gpu(args[0]) else CPU
        if name in ("to", "cuda", "cpu"):
            return self._moved(func, args, kwargs)
        of = args[0] if name == "__deepcopy__" else (args, kwargs)  # the rest was copied before
        tensors = [leaf for leaf in tree_flatten(of)[0] if isinstance(leaf, Tensor)]
        on_gpu = any(is_on_gpu(tensor) for tensor in tensors)
        self._check_generator(name, tensors, kwargs)
        self._check_places(name, args, tensors)
        if on_gpu and name == "numpy":
            raise TypeError("numpy cannot read a tensor on the simulated GPU")
        if on_gpu and name in IN_ANY_ORDER:
            raise RuntimeError(f"{name} adds in an order that varies on a GPU")
        if on_gpu and name in ASK_FOR_VALUES:
            self.waits.append(name)
        if kwargs.get("device") is not None:
            on_gpu = torch.device(kwargs["device"]).type == "cuda"
            kwargs["device"] = CPU
            if on_gpu and name in ("tensor", "as_tensor"):
                self.waits.append(name)
        elif on_gpu and name == "new_tensor":
            self.waits.append(name)
        result = func(*args, **kwargs)
        if name == "__set__" and func.__self__ is Tensor.data:  # type: ignore[attr-defined]
            _put(args[0], is_on_gpu(args[1]))
        if name == "_pack_padded_sequence":
            return _put(result[0], on_gpu), _put(result[1], False)
        return _put(result, on_gpu)

    def _moved(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        tensor, *rest = args
        if func.__name__ != "to":
            on_gpu = func.__name__ == "cuda"
        else:
            places = [place for place in (*rest, kwargs.get("device")) if isinstance(place, torch.device | str)]
            others = [is_on_gpu(other) for other in rest if isinstance(other, Tensor)]
            on_gpu = torch.device(places[0]).type == "cuda" if places else (*others, is_on_gpu(tensor))[0]
            rest = [CPU if isinstance(value, torch.device | str) else value for value in rest]
            if kwargs.get("device") is not None:
                kwargs["device"] = CPU
        moves = on_gpu != is_on_gpu(tensor)
        if moves:
            self.waits.append(func.__name__)
        result = func(tensor, *rest, **kwargs) if func.__name__ == "to" else tensor
        return _put(result.clone() if moves and result is tensor else result, on_gpu)

    def _check_generator(self, name: str, tensors: Sequence[Tensor], kwargs: dict[str, Any]) -> None:
        generator = kwargs.get("generator")
        if generator is None:
            return
        drawn = torch.device(kwargs.get("device") or CPU)
        if tensors:
            drawn = GPU if is_on_gpu(tensors[0]) else CPU
        if generator.device.type != drawn.type:
            raise RuntimeError(f"{name}: a generator on {generator.device.type} for a tensor on {drawn.type}")

    def _check_places(self, name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
        if name in INDEXING and is_on_gpu(args[0]):  # indices may be on the CPU, but make the host wait, as masks do
            others = [leaf for leaf in tree_flatten(args[1:])[0] if isinstance(leaf, Tensor)]
            listed = any(isinstance(part, list) for part in (args[1] if isinstance(args[1], tuple) else [args[1]]))
            if listed or any(not is_on_gpu(other) or other.dtype == torch.bool for other in others):
                self.waits.append(name)
            return
        differ = len({is_on_gpu(tensor) for tensor in tensors}) > 1
        if name in TAKE_BOTH:
            if differ and name == "copy_":
                self.waits.append(name)
            return
        # A CPU scalar (no dimensions) may meet tensors on the GPU, but not the other way round.
        if differ and any(not is_on_gpu(tensor) and tensor.ndim > 0 for tensor in tensors):
            raise RuntimeError(f"{name}: tensors on both devices")


def is_on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is on the simulated GPU."""
    return getattr(tensor, "_is_on_simulated_gpu", False)


_make_subclass = Tensor._make_subclass


def _as_parameter(kind: type[Tensor], data: Tensor, *options: Any) -> Tensor:
    """Make a parameter from a tensor; torch does not report this call to function modes."""
    made: Tensor = _put(_make_subclass(kind, data, *options), is_on_gpu(data))
    return made


def _put(result: Any, on_gpu: bool) -> Any:
    def put(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            leaf._is_on_simulated_gpu = on_gpu  # type: ignore[attr-defined]
        return leaf

    return tree_map(put, result)
