"""The errors that a user is meant to read. The command line prints them in one line, without a traceback."""


class DataError(ValueError):
    """Bad input, said in one line: what file, what was found, what was expected, what to do.

    The command line ends with exit code 1; a notebook shows it as it is.
    """

    def __init__(self, where: object, found: str, expected: str, do: str):
        super().__init__(f"{where}: found {found}; expected {expected}. {do}")


class TrainingFailed(RuntimeError):
    """A training that cannot lead anywhere: why, and what to do."""
