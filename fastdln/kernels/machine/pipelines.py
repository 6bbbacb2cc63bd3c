"""What Numba does with our functions, where its usual way would take twice the time.

Numba optimises a function, and makes machine code of it, before it links it into the ones that call it, where all that
is done again: at every level of calls.  A *part* goes into its callers as it was lowered, so that its code is optimised
once, in the entry point.  A library of *emitted* kernels is what it should be already: of all the passes of LLVM it
takes those alone that turn local memory into registers and merge what is the same.

This rests on Numba's own classes, which it does not promise to keep: `CompilerBase`, the passes listed below,
`JITCodeLibrary` and its methods overridden here, that lowering keeps a library that is there already, the option
``_nrt``, and `Dispatcher.get_call_template`.
`plain` decides whether they can be used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import binding
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import AnalysisPass, PassManager, register_pass
from numba.core.typed_passes import (
    AnnotateTypes,
    IRLegalization,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode


class _NoEnvironment:
    """In place of a code generator, for a function that never runs by itself and so has no Python environment."""

    @staticmethod
    def set_env(name: str, env: Any) -> None:
        """Leave it out."""


class _PartLibrary(JITCodeLibrary):
    """Code that is linked into other libraries and not run by itself."""

    codegen = _NoEnvironment()

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """There is no machine code."""
        self._ensure_finalized()
        return 0


class _EmittedLibrary(JITCodeLibrary):
    """Code that was emitted as it is to be run."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes = binding.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_simplify_cfg_pass()
        passes.run(self._final_module, self._codegen._pass_builder(loop_vectorize=False, slp_vectorize=False))


class _ChooseLibrary(AnalysisPass):
    """Choose where a function is lowered to."""

    library: type[JITCodeLibrary]
    cached = False

    def __init__(self) -> None:
        AnalysisPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Create the library, which Numba's lowering then fills."""
        state.library = self.library(state.targetctx.codegen(), state.func_id.func_qualname)
        if self.cached:
            state.library.enable_object_caching()
        return False


@register_pass(mutates_CFG=False, analysis_only=True)
class _ChoosePart(_ChooseLibrary):
    _name = "fastdln_part"
    library = _PartLibrary


@register_pass(mutates_CFG=False, analysis_only=True)
class _ChooseEmitted(_ChooseLibrary):
    _name = "fastdln_emitted"
    library = _EmittedLibrary
    cached = True


class _Plain(CompilerBase):
    """Numba's pipeline for functions without closures, array expressions and literals, on the way to a library."""

    choose: type[_ChooseLibrary]

    def define_pipelines(self) -> list[PassManager]:
        """Say which passes there are."""
        passes = PassManager("fastdln")
        for step in (
            TranslateByteCode, FixupArgs, IRProcessing, ReconstructSSA, NopythonTypeInference, PreLowerStripPhis,
            IRLegalization, AnnotateTypes, self.choose, NativeLowering, NoPythonBackend,
        ):  # fmt: skip
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


class PartCompiler(_Plain):
    """The pipeline of parts."""

    choose = _ChoosePart


class EmittedCompiler(_Plain):
    """The pipeline of emitted kernels."""

    choose = _ChooseEmitted


def part(function: Callable[..., Any]) -> Any:
    """Compile a part: without wrappers and reference counts, which take longer to compile than the function itself."""
    made = numba.njit(
        error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False, pipeline_class=PartCompiler
    )(function)
    usual = made.get_call_template

    def get_call_template(arguments: Any, keywords: Any) -> Any:
        return usual([numba.types.unliteral(kind) for kind in arguments], keywords)

    made.get_call_template = get_call_template
    return made
