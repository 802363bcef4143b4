"""The errors that a user is meant to read. The command line prints them without a traceback."""

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path


class DataError(ValueError):
    """Bad input: one sentence that names the file and says what is wrong and what was expected; then what to do.

    The command line prints it on one line and ends with exit code 1; a notebook shows it as it is.

    >>> raise DataError("hip.nii.gz has four axes; a single volume has three.", "Split the series.")
    Traceback (most recent call last):
    femur_lib._runtime.errors.DataError: hip.nii.gz has four axes; a single volume has three. Split the series.
    """

    def __init__(self, sentence: str, do: str):
        super().__init__(f"{sentence} {do}")


class TrainingFailed(RuntimeError):
    """A training that cannot lead anywhere: why, and what to do."""


def raise_all(faults: list[DataError]) -> None:
    """Raise what was found, if anything: one fault as it is, several as one error with a line for each."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = "\n".join(f"- {fault}" for fault in faults)
        raise DataError(f"{len(faults)} things are wrong:\n{listed}\n", "Mend each of them.")


def asked_for(name: str) -> str:
    """The name that somebody knows, of a lock or of what is half-written."""
    name = re.sub(r"^\.(.+)\.lock$", r"\1", name)
    return re.sub(r"\.partial(-\d+)?$", "", re.sub(r"^\.\d+-", "", name))


CURES = {
    errno.EROFS: "Choose a place that can be written to.",
    errno.EACCES: "Choose another place, or ask its owner for the right to use this one.",
    errno.EPERM: "Choose another place, or ask its owner for the right to use this one.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOTDIR: "Check the path: a part of it is a file.",
    errno.EEXIST: "Choose another path: a file lies where a folder was expected.",
    errno.EISDIR: "Name a file, not a folder.",
    errno.EMFILE: "Allow more open files at a time, as with ulimit -n 4096.",
    errno.EIO: "Check whether the disk or the network works.",
}


def said(error: Exception) -> str:
    """An error in one sentence; of the system's (a folder that may not be written to), the path and what to do."""
    if isinstance(error, MemoryError):
        return f"There is not enough memory ({' '.join(str(error).split()) or 'the system gave none'})."
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    why, do = f"{error.strerror[0].lower()}{error.strerror[1:]}", CURES.get(error.errno or 0, "Check the path.")
    if not error.filename:
        return f"Something cannot be read or written: {why}. {do}"
    path = Path(os.fsdecode(error.filename))
    path = Path(*(asked_for(part) for part in path.parts))
    return f"{path} cannot be read or written: {why}. {do}"


def warn_once(program: str) -> Callable[..., None]:
    """What prints a warning on one line, for ``warnings.showwarning``; a file that is read twice is not named twice."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: object) -> None:
        if str(message) not in seen:
            print(f"{program}: warning: {message}", file=sys.stderr)
        seen.add(str(message))

    return show
