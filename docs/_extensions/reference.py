"""The reference: a page for every public name, from what the modules export."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GENERATED = Path(__file__).parents[1] / "reference" / "generated"

# `fastdln.scan` needs its extra, so users import it by itself; the others are names of `fastdln` or of its modules
IMPORTED = ("fastdln", "fastdln.scan")


def modules() -> dict[str, ModuleType]:
    """All public modules, by the names that users know them by."""
    found: dict[str, ModuleType] = {}

    def add(name: str, module: ModuleType) -> None:
        found[name] = module
        for exported in module.__all__:
            item = getattr(module, exported)
            if isinstance(item, ModuleType):
                add(f"{name}.{exported}", item)

    for name in IMPORTED:
        add(name, importlib.import_module(name))
    return found


def names(module: ModuleType) -> dict[str, Any]:
    """The functions and classes that a module exports; constants stand in its docstring."""
    exported = {name: getattr(module, name) for name in module.__all__}
    return {name: item for name, item in exported.items() if callable(item) and not isinstance(item, ModuleType)}


def members(item: Any) -> Iterator[str]:
    """The public methods and properties of a class, and the members of an enumeration."""
    if inspect.isclass(item):
        yield from getattr(item, "__members__", ())
        for base in item.__mro__:
            for key, value in vars(base).items() if base.__module__.startswith("fastdln") else ():
                if not key.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                    yield key


def documented() -> set[str]:
    """Every dotted name that the reference has a place for."""
    found = {"fastdln.scan.spec"}  # the page of scan files
    for name, module in modules().items():
        found.add(name)
        for key, item in names(module).items():
            found.add(f"{name}.{key}")
            found.update(f"{name}.{key}.{member}" for member in members(item))
    return found


def page_of_name(module: str, name: str, item: Any) -> str:
    """The page of a function or a class."""
    heading = f"{module}.{name}"
    kind = "class" if inspect.isclass(item) else "function"
    options = "   :members:\n   :inherited-members: Exception, int, tuple\n" if kind == "class" else ""
    return f"{heading}\n{'=' * len(heading)}\n\n.. currentmodule:: {module}\n\n.. auto{kind}:: {name}\n{options}"


def page_of_module(name: str, module: ModuleType) -> str:
    """The page of a module: its docstring, and a table of its names."""
    lines = [name, "=" * len(name), "", f".. py:module:: {name}", "", inspect.cleandoc(module.__doc__ or ""), ""]
    inner = {key: getattr(module, key) for key in module.__all__ if isinstance(getattr(module, key), ModuleType)}
    for key, item in inner.items():
        first, *_ = (item.__doc__ or "").splitlines()
        lines.append(f"- :py:mod:`{name}.{key}`: {first}")
    lines.append("")
    if own := names(module):
        lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {key}" for key in own), ""]
        lines += [
            ".. toctree::",
            "   :hidden:",
            "",
            *(f"   {key} </reference/generated/names/{name}.{key}>" for key in own),
        ]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Every page of the reference, by its path."""
    found = {}
    for name, module in modules().items():
        found[f"modules/{name}.rst"] = page_of_module(name, module)
        for key, item in names(module).items():
            found[f"names/{name}.{key}.rst"] = page_of_name(name, key, item)
    return found


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write pages where they differ from what is there, and remove those that are not among them."""
    for path in folder.rglob("*.rst"):
        if path.relative_to(folder).as_posix() not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: write(GENERATED, pages()))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
