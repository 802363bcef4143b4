"""Web pages that are one file each, made from the templates beside this module."""

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader

from femur_lib._runtime.files import atomic_write


def write_page(out: str | os.PathLike, template: str, **content: object) -> Path:
    """Fill in a template and write the page, whole or not at all; text in it is escaped. Returns its path."""
    pages = Environment(loader=PackageLoader("femur_lib.lab"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = pages.get_template(template).render(**content)
    with atomic_write(out) as half_written:
        half_written.write_text(text, encoding="utf-8")
    return Path(out)
