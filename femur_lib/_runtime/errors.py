"""The errors that a user is meant to read. The command line prints them without a traceback."""


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
