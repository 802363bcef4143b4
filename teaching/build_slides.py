"""Make build/slides/slides.html from slides.md, and handout.html from handout.md; PDFs of both where Chromium is found.

Each page is one file that works offline.

A slide ends at a line of three dashes. ``![words](figure:NAME)`` becomes the picture that the function NAME of
figures.py draws. ``<!-- note: ... -->`` is for the speaker; the key N shows it. A paragraph that begins with "Source:"
is set small. A slide that begins with "Predict" or "Exercise now" has a colour of its own.
"""

import argparse
import base64
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
import mistune
from figures import FIGURES, draw  # the file beside this one

HERE = Path(__file__).parent
FIGURE = re.compile(r"\(figure:(\w+)\)")
NOTE = re.compile(r"<!--\s*note:(.*?)-->", re.S)
KINDS = {"Predict:": "predict", "Exercise": "exercise"}  # by the first word of the heading
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")


def slides(text: str) -> list[dict[str, str]]:
    """The body (Markdown) and the speaker's note of each slide."""
    parts = [part for part in re.split(r"^---$", text, flags=re.M) if part.strip()]
    return [{"body": NOTE.sub("", p).strip(), "note": " ".join(" ".join(NOTE.findall(p)).split())} for p in parts]


def page(text: str, pictures: dict[str, bytes]) -> str:
    """The whole page, with its pictures inside."""
    uris = {n: "data:image/png;base64," + base64.b64encode(p).decode() for n, p in pictures.items()}
    to_html = mistune.create_markdown(escape=False, plugins=["table"])
    found = slides(text)
    for slide in found:
        html = str(to_html(FIGURE.sub(lambda m: f"({uris[m[1]]})", slide["body"])))
        html = re.sub(r"<p>(<img [^>]+>)</p>", r"<figure>\1</figure>", html)
        slide["kind"] = KINDS.get(slide["body"].split()[1], "")
        slide["html"] = html.replace("<p>Source:", '<p class="source">')
    title = re.sub(r"^#+\s*", "", found[0]["body"].splitlines()[0])
    environment = jinja2.Environment(autoescape=True)
    return environment.from_string((HERE / "slides.html.j2").read_text("utf-8")).render(slides=found, title=title)


def handout(text: str) -> str:
    """The page for learners, in two columns under its title."""
    html = str(mistune.create_markdown(escape=False, plugins=["table"])(text))
    head, second, rest = html.partition("<h2>")
    environment = jinja2.Environment(autoescape=True)
    template = environment.from_string((HERE / "handout.html.j2").read_text("utf-8"))
    return template.render(head=head, body=second + rest, title=text.splitlines()[0].lstrip("# "))


def print_pdf(html: Path, pdf: Path, chromium: str) -> None:
    """Print the page without opening a window; an error of the browser is shown as it is."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={pdf.resolve()}", html.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=180)


def main() -> int:
    """Draw the pictures, write the pages, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "slides", help="the folder to write to")
    parser.add_argument("--chromium", help="a Chromium or Chrome; the default is the first one on the PATH")
    parser.add_argument("--no-pdf", action="store_true", help="only the HTML pages")
    a = parser.parse_args()
    text = (HERE / "slides.md").read_text("utf-8")
    asked = list(dict.fromkeys(FIGURE.findall(text)))
    if unknown := [name for name in asked if name not in FIGURES]:
        parser.error(f"slides.md asks for {', '.join(unknown)}; figures.py has {', '.join(FIGURES)}")
    a.out.mkdir(parents=True, exist_ok=True)
    html = a.out / "slides.html"
    html.write_text(page(text, {name: draw(name) for name in asked}), "utf-8")
    (a.out / "handout.html").write_text(handout((HERE / "handout.md").read_text("utf-8")), "utf-8")
    print(html, a.out / "handout.html", sep="\n")
    chromium = a.chromium or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if a.no_pdf or not chromium:
        print("no PDF: " + ("not asked for" if a.no_pdf else "no chromium on the PATH; --chromium names one"))
        return 0
    for page_to_print in (html, a.out / "handout.html"):
        print_pdf(page_to_print, page_to_print.with_suffix(".pdf"), chromium)
        print(page_to_print.with_suffix(".pdf"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
