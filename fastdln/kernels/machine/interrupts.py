"""Interrupts of compilation, such as Ctrl-C, which LLVM would swallow."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def nothing_lost() -> Iterator[None]:
    """Raise afterwards what is raised by the handler of a signal in the midst of compilation.

    LLVM calls back into Python when it has made machine code.  What a handler raises there, such as KeyboardInterrupt,
    cannot pass through LLVM: it would be printed and forgotten, and so would what finalizers are interrupted by.
    """
    if threading.current_thread() is not threading.main_thread():  # where no handler runs
        yield
        return
    lost: list[BaseException] = []
    usual, own = sys.unraisablehook, threading.get_ident()

    def hear(unraisable: Any) -> None:
        error = unraisable.exc_value
        called_back = "ctypes" in (unraisable.err_msg or "")
        if threading.get_ident() == own and (called_back or not isinstance(error, Exception)):
            lost.append(error or unraisable.exc_type())
        else:
            usual(unraisable)

    sys.unraisablehook = hear
    try:
        yield
    except Exception:
        if lost:
            raise lost[0] from None
        raise
    finally:
        sys.unraisablehook = usual
    if lost:
        raise lost[0]
