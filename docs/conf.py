"""The documentation, by Sphinx: ``nox -s docs``. Nothing is fetched, neither while it is built nor while it is read."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "_extensions"), str(ROOT)]

import fastdln  # noqa: E402

project = "fastdln"
author = "The fastdln developers"
copyright = f"2026, {author}"
version = release = fastdln.__version__

GALLERY = "../examples/gallery"
SECTIONS = ("learning", "landscape", "descent", "data", "exact", "scans")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # of our own, in docs/_extensions
    "reference",
    "statements",
    "crossings",
    "commands",
    "plots",
    "survey_figures",
    "offline",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["plots", "_extensions"]
nitpicky = True
smartquotes = False  # strings are to be copied
maximum_signature_line_length = 88

# ---- pages
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"

# ---- reference
autodoc_typehints = "none"  # docstrings say the types
autodoc_member_order = "bysource"
toc_object_entries_show_parents = "hide"
autosummary_generate = False  # `reference` writes the pages
numpydoc_show_class_members = False
default_role = "py:obj"

# ---- gallery
sphinx_gallery_conf = {
    "examples_dirs": GALLERY,
    "gallery_dirs": "gallery",
    "subsection_order": [f"{GALLERY}/{section}" for section in SECTIONS],
    "abort_on_example_error": True,
    "parallel": 2,
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "image_srcset": ["2x"],
    "min_reported_time": 1,
    "copyfile_regex": r".*\.(toml|npz)",
}

# ---- the site
mathjax = find_spec("sphinx-mathjax-offline")
if mathjax is None or not mathjax.submodule_search_locations:
    raise ModuleNotFoundError("sphinx-mathjax-offline: python -m pip install --group docs")
# of all that MathJax is, the one file that holds everything: formulas as SVG need no fonts
mathjax_path = "tex-svg.js"
html_static_path = ["_static", str(Path(mathjax.submodule_search_locations[0]) / "static" / "mathjax" / mathjax_path)]
html_css_files = ["fastdln.css"]
html_favicon = "_static/favicon.svg"
html_sidebars = {page: [] for page in ("index", "performance", "glossary", "citing", "figures")}
html_theme = "pydata_sphinx_theme"
html_title = "fastdln"
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "fastdln"},
    "header_links_before_dropdown": 10,
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
