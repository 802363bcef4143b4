"""What a learner's checks and predictions have said so far, kept in a small file beside the exercises.

Only an exercises folder keeps a record: one that holds the file ``progress.jsonl``, which ``make exercises`` puts
there, and that is the working directory, as it is for the kernel of a notebook that was opened there. So nothing is
written when papermill executes the solved notebooks in a folder of runs, nor when this is imported elsewhere; and where
the file cannot be written to, the notebooks work as well without it.

Each line is one JSON object: which exercise, what the check said or which letter was predicted, and when. Lines are
only ever added, each in one piece, so two notebooks may be open at a time.
"""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

RECORD = "progress.jsonl"
LATEST: dict[str, str] = {}  # predictions of this session: they are recalled where no record is kept, too


def add(kind: str, name: str, said: str) -> bool:
    """Add a line to the record of the working directory, unless the last one on the same says the same.

    Args:
        kind: "check" or "prediction".
        name: an exercise such as "04.1", or a prediction such as "05.stray".
        said: the verdict, or the letter.

    Returns:
        Whether the record now holds it; no where there is none, or where it cannot be written to.
    """
    with suppress(OSError):
        if not Path(RECORD).is_file():
            return False
        if [line["said"] for line in read(".") if line["kind"] == kind and line["name"] == name][-1:] != [said]:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            line = json.dumps({"kind": kind, "name": name, "said": said, "when": when})
            with Path(RECORD).open("a", encoding="utf-8") as record:
                record.write(line + "\n")
        return True
    return False


def read(folder) -> list[dict[str, str]]:
    """The lines of a folder's record, oldest first; what is no such line is passed over.

    Raises:
        OSError: there is no record, or it may not be read.
    """
    lines = []
    for text in (Path(folder) / RECORD).read_text("utf-8", errors="replace").splitlines():
        with suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict) and all(isinstance(line.get(k), str) for k in ("kind", "name", "said", "when")):
                lines.append(line)
    return lines
