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


def gift(text: str) -> str:
    """All questions of the quiz in GIFT."""
    made, section = [], ""
    for part in re.split(r"^(?=##)", text, flags=re.M)[1:]:
        heading, _, body = part.partition("\n")
        if not heading.startswith("### "):
            section = heading.lstrip("# ")
            continue
        asked, answers = body.split("<details><summary>Answer</summary>")
        answers = answers.partition("</details>")[0]
        question = re.split(r"^- A\. ", asked, flags=re.M)[0]
        options = re.findall(r"^- ([A-D])\. (.+(?:\n  .+)*)", asked, re.M)
        said = re.findall(r"^- \*\*([A-D]), (right|wrong)\.\*\* (.+(?:\n  .+)*)", answers, re.M)
        source = answers.rstrip().rpartition("\n\n")[2]
        lines = [f"// {section}", f"::{plain(heading.lstrip('# '))}::[markdown]{plain(question)} {{"]
        for (letter, option), (same, verdict, why) in zip(options, said, strict=True):
            if letter != same:
                raise ValueError(f"{heading}: {letter} is explained as {same}")
            lines.append(f"  {'=' if verdict == 'right' else '~'}{plain(option)}#{plain(why)}")
        made.append("\n".join([*lines, f"  ####{plain(source)}", "}"]))
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
