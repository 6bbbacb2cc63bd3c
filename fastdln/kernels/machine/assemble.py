"""Machine code of emitted functions in this process: made as it is written, by no optimiser, and kept by no cache."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba.core import config

from fastdln.kernels.machine.emit import Emit

_lock = threading.Lock()


class Code(NamedTuple):
    """Addresses of functions by name, and what they live as long as: the engine of the machine code, what it reads."""

    addresses: dict[str, int]
    kept: Any


def new_module(name: str) -> ir.Module:
    """An empty module for this machine."""
    module = ir.Module(name)
    module.triple = binding.get_process_triple()
    return module


def function(module: ir.Module, name: str, n_args: int, bits: int, lanes: int) -> Emit:
    """Begin a function whose address is wanted."""
    emit = Emit(module, name, n_args, bits, lanes)
    emit.fn.linkage = "external"
    return emit


def assemble(module: ir.Module, names: list[str]) -> Code:
    """Compile a module; it takes some tens of milliseconds."""
    with _lock:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = binding.Target.from_triple(module.triple)
        machine = target.create_target_machine(
            cpu=config.CPU_NAME or binding.get_host_cpu_name(),
            features=config.CPU_FEATURES or binding.get_host_cpu_features().flatten(),
            opt=2,
            jit=True,
        )
        engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
        engine.finalize_object()
        return Code({name: engine.get_function_address(name) for name in names}, engine)
