"""Sphinx's settings. build.py, beside this file, gathers what Sphinx reads.

REPOSITORY is the one setting that names the repository (``make site REPOSITORY=https://github.com/somebody/hips``; the
workflow that publishes the site sets it). From it come the buttons for Binder and Colab, and links to files that are no
pages. Without it the site has no such buttons.
"""

import os

project = "The hip course"
author = "The hip course authors"
copyright = "2026, The hip course authors; text CC BY 4.0, code MIT"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

# Notebooks are shown as they were executed.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # their scripts would come from elsewhere
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sourcelink = False
html_copy_source = False

REPOSITORY = os.environ.get("REPOSITORY", "").rstrip("/")
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
if REPOSITORY:
    html_theme_options |= {
        "repository_url": REPOSITORY,
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
            "notebook_interface": "jupyterlab",
        },
    }


def setup(app):
    """Keep Napoleon from taking what stands before a colon in a property's docstring for the property's type."""
    app.connect("autodoc-process-docstring", keep_the_sentence, priority=1)


def keep_the_sentence(app, what, name, obj, options, lines):
    """Write a dash in the place of the first colon."""
    if what in ("property", "attribute", "data") and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)
