"""Make build/quiz/quiz.gift.txt from quiz.md: the questions in GIFT, which Moodle imports, every answer explained."""

import argparse
import re
import sys
from pathlib import Path

from femur_lib._runtime.files import atomic_write

HERE = Path(__file__).parent


def plain(text: str) -> str:
    """One line of Markdown without links, in which GIFT's own signs are escaped."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(text.split()))
    return re.sub(r"([\\~=#{}:])", r"\\\1", text)


def parse(text: str) -> tuple[str, list[dict]]:
    """What stands above the quiz's first heading, and for each heading what stands below it.

    That is what is ``asked``, the ``choices`` by their letters, what is ``told`` about each (its letter, "right" or
    "wrong", and why), and ``where`` the answer stands. The heading of a section has no choices.

    Raises:
        ValueError: choices and explanations are not the same.
    """
    start, *parts = re.split(r"^(#{2,3} .+)$", re.sub(r"\n {2,}(?=\S)", " ", text), flags=re.M)
    found = []
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        asked, _, answer = body.partition("<details>")
        choices = dict(re.findall(r"^- ([A-D])\. (.+)$", asked, re.M))
        told = re.findall(r"^- \*\*([A-D]), (right|wrong)\.\*\* (.+)$", answer, re.M)
        if [letter for letter, *_ in told] != list(choices):
            raise ValueError(f"{heading}: not every choice is explained, or not in its place")
        where = re.sub(r"^- .+$|^.*</?(?:details|summary)>.*$", "", answer, flags=re.M).strip()
        asked = re.sub(r"^- [A-D]\. .+$", "", asked, flags=re.M).strip()
        found.append({"heading": heading, "asked": asked, "choices": choices, "told": told, "where": where})
    return start, found


def gift(text: str) -> str:
    """All questions of the quiz in GIFT."""
    made, section = [], ""
    for part in parse(text)[1]:
        title = part["heading"].lstrip("# ")
        if not part["choices"]:
            section = title
            continue
        lines = [f"// {section}", f"::{plain(title)}::[markdown]{plain(part['asked'])} {{"]
        for letter, verdict, why in part["told"]:
            lines.append(f"  {'=' if verdict == 'right' else '~'}{plain(part['choices'][letter])}#{plain(why)}")
        made.append("\n".join([*lines, f"  ####{plain(part['where'])}", "}"]))
    return "\n\n".join(made) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "quiz" / "quiz.gift.txt")
    a = parser.parse_args(arguments)
    with atomic_write(a.out) as half_written:
        half_written.write_text(gift((HERE / "quiz.md").read_text("utf-8")), "utf-8")
    print(a.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
