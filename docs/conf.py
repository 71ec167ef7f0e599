"""The site: Sphinx with furo, pages in Markdown (MyST); ``make docs`` builds it, and a warning is an error."""

import sys
from pathlib import Path

from sslkuramoto import __version__

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "sslkuramoto"
author = "The sslkuramoto developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # docstrings with Args, Returns, Raises
    "myst_parser",
    "sphinx_design",  # the cards of the first page
    "registry_tables",
    "pages_from_files",
]
exclude_patterns = ["extensions", "static"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Source", "notes"), ("Differs", "notes"), ("Shapes", "notes")]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"sslkuramoto {version}"
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
