"""What all commands share: the program, how errors become messages and exit codes, and what is said to people."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from fastdln import resources
from fastdln.cli import STOPPED, interruptible
from fastdln.kernels.machine.announce import heard
from fastdln.scan.spec import SpecError
from fastdln.scan.store import StoreError
from fastdln.text import plain

__all__ = ["app", "command", "err", "fail", "out", "say", "warn"]

app = typer.Typer(
    name="fastdln",
    help="Scans of the gradient flow of deep linear networks.",
    epilog="`fastdln COMMAND --help` has examples. `fastdln --install-completion` completes names in your shell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
P = ParamSpec("P")

_LONGEST = 4000  # characters of a line of a message

out = Console()
err = Console(stderr=True, soft_wrap=True, highlight=False)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Make a command of a function: what goes wrong becomes one message on stderr, and an exit code.

    Parameters
    ----------
    function : callable
        The function; its name, parameters and docstring are those of the command. What follows "Examples:" there is
        shown below the options, line by line.

    Returns
    -------
    callable
        The command: it exits with 2 where the input is wrong, 130 after Ctrl-C, 1 where anything else failed.
    """

    told, _, examples = inspect.cleandoc(function.__doc__ or "").partition("\n\nExamples:\n")

    @app.command(help=told, epilog=f"\b\nExamples:\n{examples}" if examples else None)
    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with interruptible(), heard(resources.say):
                function(*args, **kwargs)
        except SpecError as error:
            fail(error, 2)
        except (StoreError, MemoryError, OSError) as error:
            fail(error, 1)
        except KeyboardInterrupt:
            fail("stopped", STOPPED)

    return guarded


def say(text: str) -> None:
    out.print(_harmless(text), highlight=False, soft_wrap=True)


def warn(reason: object) -> None:
    err.print(_harmless(f"fastdln: {reason}"))


def fail(reason: object, code: int) -> NoReturn:
    warn(reason)
    raise typer.Exit(code)


def _harmless(text: str) -> Text:
    """Lines in which nothing is markup, or steers the terminal: they may quote a file."""
    return Text("\n".join(plain(line, _LONGEST) for line in text.split("\n")))
