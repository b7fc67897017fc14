"""The site's settings.  `sphinx-build -W -b html docs OUT` builds it; `-D plot_gallery=0` does not run the examples.

What is generated from the code goes to docs/generated/, which git ignores; docs/_ext/ generates it.
"""
import pathlib
import sys

from sphinx_gallery.sorting import FileNameSortKey

DOCS = pathlib.Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import tinyseg  # noqa: E402  (it may lie beside docs/ without being installed)

project = "tinyseg"
author = "the authors of tinyseg"
copyright = author
version = release = tinyseg.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_gallery.gen_gallery",
              "docstrings", "api_pages", "op_pages", "model_pages", "stepper_page", "source_pages", "code_links"]
exclude_patterns = ["_ext", "generated/gallery/*.ipynb", "generated/gallery/*.py"]
suppress_warnings = ["config.cache",                # the gallery's sort key is a class, which Sphinx does not keep
                     "ref.python"]                  # two modules have a class Row

# Markdown: headings can be linked to
myst_heading_anchors = 3

# Reference
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Array", "Dims", "IntPair", "Scale", "TensorLike")}
python_maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples/lecture",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": FileNameSortKey,
    "capture_repr": ("_repr_html_", "__repr__"),
    "reset_argv": lambda gallery_conf, script_vars: [],
    "abort_on_example_error": False,
    "write_computation_times": False,               # its page would load scripts from elsewhere
}

# Appearance: nothing is loaded from elsewhere
html_theme = "furo"
html_title = "tinyseg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
