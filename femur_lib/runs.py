"""A finished training, read back with its network."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras

from femur_lib.architecture import Architecture
from femur_lib.errors import DataError
from femur_lib.experiments import Profile
from femur_lib.inference import pass_size
from femur_lib.networks import rebuilt, unet
from femur_lib.precision import resolve
from femur_lib.records import read_record, refuse_damaged
from femur_lib.segmentation import Segmenter
from femur_lib.volumes import Grid


@dataclass(frozen=True)
class Run:
    """A finished training, read back: its folder, its record (run.json), its network with all that belongs to it."""

    folder: Path
    record: dict
    model: keras.Model
    segmenter: Segmenter

    @property
    def threshold(self) -> float:
        """The probability above which a voxel is femur, as chosen when the run was trained."""
        return self.segmenter.threshold


def load_run(folder: str | os.PathLike, precision: str | None = None, patches: str | None = None) -> Run:
    """Read a finished run back, its network ready to predict on this machine.

    Args:
        folder: of the run.
        precision: of the arithmetic, see :mod:`femur_lib.precision`; None takes the profile's, where "auto" is what
            this machine does best, whatever it was in training.
        patches: of unpadded networks, "nine" or "one"; None takes the profile's.

    Raises:
        DataError: the folder is not a finished run.
    """
    folder = Path(folder)
    record = read_record(folder)
    refuse_damaged(folder)
    profile = Profile(**record["profile"])
    architecture = profile.architecture(record["experiment"])
    grid = profile.grid(architecture.dimensions)
    try:
        model = keras.saving.load_model(folder / "model.keras", compile=False)  # safe mode: no code is run
    except (OSError, TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            folder / "model.keras", f"a file that cannot be read ({error})", "a saved network", "Train again."
        ) from None
    patches = patches or profile.patches
    model = ready(model, architecture, grid, patches, resolve(precision or profile.precision, architecture))
    segmenter = Segmenter(
        network=model,
        architecture=architecture,
        grid=grid,
        threshold=float(record["threshold"]),
        largest_component=architecture.dimensions == 2,  # as the paper does
        flip=profile.flip_predictions,
        patches=patches,
        grid_spacing_mm=tuple(record["grid_spacing_mm"]),
    )
    return Run(folder, record, model, segmenter)


def ready(model: keras.Model, architecture: Architecture, grid: Grid, patches: str, precision: str) -> keras.Model:
    """A saved network, float32 and for the grid's size, made ready to predict: rebuilt only if it has to be."""
    size = input_size(architecture, grid, patches)
    if precision == "float32" and (size is None or size == model.input_shape[1:3]):
        return model
    return rebuilt(model, architecture, size, precision)


def input_size(architecture: Architecture, grid: Grid, patches: str = "nine") -> tuple[int, int] | None:
    """Rows and columns that an unpadded network is built for; None for a padded one, which takes any."""
    if architecture.padded:
        return None
    return (grid.rows, grid.columns) if patches == "nine" else pass_size(architecture, grid.rows, grid.columns)


def build(architecture: Architecture, grid: Grid, precision: str = "float32") -> keras.Model:
    """The network of an architecture, as it is trained on a profile's grid."""
    return unet(architecture, input_size(architecture, grid), precision)
