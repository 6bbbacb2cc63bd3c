"""The reference has a page for every public name, and the site shows nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from tests.test_docstrings import public_names

DOCS = Path(__file__).parents[1] / "docs"
KNOWN_AS = {"fastdln.integrate.schedules": "fastdln.schedules", "fastdln.claims": "fastdln.theory.claims"}


def extension(name: str) -> ModuleType:
    """An extension of the site, which needs no Sphinx until it is set up."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "_extensions" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference, offline = extension("reference"), extension("offline")


def test_every_public_name_has_a_page() -> None:
    pages, documented = reference.pages(), reference.documented()
    for name in public_names():
        for inside, known in KNOWN_AS.items():
            name = name.replace(inside, known)
        with_page = name if f"names/{name}.rst" in pages else name.rpartition(".")[0]  # a method: that of its class
        assert f"names/{with_page}.rst" in pages, name
        assert name in documented


def test_every_module_leads_to_its_names() -> None:
    pages = reference.pages()
    entry = re.compile(r"^   \w+ </reference/generated/(\S+)>$", re.MULTILINE)
    led = {found for text in pages.values() for found in entry.findall(text)}
    assert {f"{found}.rst" for found in led} == {path for path in pages if path.startswith("names/")}
    assert {"fastdln", "fastdln.inits", "fastdln.schedules", "fastdln.theory.hessian", "fastdln.scan"} <= {
        Path(path).stem for path in pages if path.startswith("modules/")
    }


def test_writing_keeps_what_is_right_and_removes_what_is_gone(tmp_path: Path) -> None:
    reference.write(tmp_path, {"names/a.rst": "a", "names/b.rst": "b"})
    before = (tmp_path / "names" / "a.rst").stat().st_mtime_ns
    reference.write(tmp_path, {"names/a.rst": "a"})
    assert (tmp_path / "names" / "a.rst").stat().st_mtime_ns == before
    assert not (tmp_path / "names" / "b.rst").exists()


def test_what_a_page_loads_from_elsewhere_or_misses_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.css").touch()
    page = tmp_path / "page.html"
    page.write_text(
        '<a href="https://a.org/">a</a> <a href="#b">b</a> <a class="c" href="gone.html#d">d</a>'
        '<img src="data:image/png,">'
        '<link rel="stylesheet" href="there.css?v=1"/> <script src="https://cdn.org/e.js"></script> <img src="f.png"/>'
    )
    assert list(offline.missing(page)) == ["gone.html#d", "https://cdn.org/e.js", "f.png"]
