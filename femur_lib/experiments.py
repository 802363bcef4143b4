"""Experiments are data: a network's name says what it is, a profile says at which size and by which recipe it runs.

Names read as the paper's tables do: ``3d-f32-l4-d1.2.4.8`` is "3D CNN-dilated, F:32, L:4, rates 1, 2, 4, 8";
``2d-unpadded-f64-l3`` is "2D CNN*, F:64, L:3". Three endings are ours and no part of the paper: ``-a2`` keeps the two
upper levels within slices, ``-bn`` or ``-gn`` normalises every convolution; ``-s1`` is the same network trained from
another seed, to see how much that alone changes.

A profile changes size and training time, never the method; only its ``recipe`` does, and says so by its name.
"""

import os
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from femur_lib.architecture import Architecture
from femur_lib.costs import Cost, cost
from femur_lib.errors import DataError
from femur_lib.inputs import padded_size
from femur_lib.paper import NETWORKS
from femur_lib.recipes import RECIPES, Recipe, find_recipe
from femur_lib.volumes import Grid

NAME = re.compile(
    r"(?P<dimensions>[23])d(?P<unpadded>-unpadded)?-f(?P<features>\d+)-l(?P<levels>\d+)"
    r"(-d(?P<rates>\d+(\.\d+)*))?(-a(?P<in_plane>\d+))?(-(?P<norm>bn|gn))?(-s(?P<seed>\d+))?"
)
NORMALISATIONS = {None: None, "bn": "batch", "gn": "group"}


def parse_experiment(name: str, features_divisor: int = 1, centre_counts_as_level: bool = False) -> Architecture:
    """The :class:`femur_lib.architecture.Architecture` that a name stands for.

    Args:
        name: such as ``3d-f32-l4-d1.2.4.8``.
        features_divisor: a profile's, to make every network of a study smaller by one factor.
        centre_counts_as_level: the other reading of "L" (PAPER.md): of L levels the centre is one, so the network
            pools L - 1 times.

    Raises:
        DataError: the name does not follow the rule above, or asks for a network that cannot be built.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise DataError(name, "no experiment's name", "one such as 3d-f16-l4 or 2d-unpadded-f64-l3", "Correct it.")
    try:
        architecture = Architecture(
            dimensions=int(found["dimensions"]),
            features=int(found["features"]),
            levels=int(found["levels"]) - centre_counts_as_level,
            padded=not found["unpadded"],
            dilation_rates=tuple(int(r) for r in (found["rates"] or "1").split(".")),
            in_plane_levels=int(found["in_plane"] or 0),
            normalisation=NORMALISATIONS[found["norm"]],
        )
    except ValueError as error:
        raise DataError(name, str(error), "a network that can be built", "Choose another.") from None
    return replace(architecture, features=max(1, architecture.features // features_divisor))


def seed_of(name: str) -> int | None:
    """The seed that a name asks its training to begin from; None leaves it to the profile."""
    found = NAME.fullmatch(name)
    return int(found["seed"]) if found and found["seed"] else None


def without_seed(name: str) -> str:
    """The name of the same network, trained from the profile's seed."""
    return re.sub(r"-s\d+$", "", name)


def with_features(name: str, features: int) -> str:
    """The name of the same network with other initial feature maps."""
    return re.sub(r"-f\d+-", f"-f{features}-", name)


class Profile(BaseModel):
    """Sizes and recipe of a training. Defaults are the paper's (Table 5 and Methods)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str
    subjects: int = Field(86, ge=4, description="synthetic hips to make where no cohort is given")
    grid_2d: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (512, 512, 48), description="rows, columns, slices of 2D networks"
    )
    grid_3d: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (256, 256, 48), description="rows, columns, slices of 3D networks"
    )
    features_divisor: int = Field(1, ge=1, description="every network has this many times fewer maps")
    centre_counts_as_level: bool = Field(False, description="L levels pool L - 1 times, not L times")
    intensities: Literal["z-score", "min-max"] = Field("z-score", description="how each scan's grey levels are scaled")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto", description="of the arithmetic, see femur_lib.precision"
    )
    recipe: Recipe = Field(RECIPES["paper"], description="a name, or a name and other ingredients: femur_lib.recipes")
    epochs: int = Field(200, ge=1, description="at most this many")
    first_epochs: int = Field(30, ge=0, description="epochs before early stopping may act")
    patience: int = Field(10, ge=1, description="epochs without improvement before it acts")
    min_delta: float = Field(1e-4, ge=0, description="an improvement of validation accuracy is more than this")
    learning_rate: float = Field(5e-5, gt=0)
    batch_size_2d: int = Field(1, ge=1)
    batch_size_3d: int = Field(1, ge=1)
    passes_3d: int = Field(1, ge=1, description="how often an epoch of 3D networks sees each scan: few make few steps")
    folds: int = Field(4, ge=2)
    seed: int = 0
    training_seed: int | None = Field(
        None, description="of weights, order and augmentation, to repeat a training on the same folds; None: seed"
    )
    flip_predictions: bool = Field(False, description="average each prediction with that of the mirrored scan")
    patches: Literal["nine", "one"] = Field(
        "nine", description="unpadded networks: the paper's nine patches, or one pass over the mirrored slice"
    )
    gpus: int = Field(1, ge=1, description="how many GPUs share each batch of one training")
    deterministic: bool = Field(False, description="repeat to the last bit on one device, at some cost of speed")
    experiments: tuple[str, ...] = Field((), description="networks that the notebooks train")
    study: tuple[str, ...] = Field(
        (), description="networks of the whole study; \"paper\": the paper's 18, also in a list; none: the notebooks'"
    )
    study_folds: int = Field(0, ge=0, description="how many folds the study trains, from the first; 0: all")

    @field_validator("study", mode="before")
    @classmethod
    def _of_the_paper(cls, given: Any) -> Any:
        names = [given] if isinstance(given, str) else given
        return [n for name in names for n in (NETWORKS if name == "paper" else (name,))]

    @field_validator("recipe", mode="before")
    @classmethod
    def _named_recipe(cls, given: Any) -> Any:
        return find_recipe(given)

    def grid(self, dimensions: int) -> Grid:
        """The grid of 2D or of 3D networks."""
        return Grid(*(self.grid_2d if dimensions == 2 else self.grid_3d), self.intensities)

    def architecture(self, experiment: str) -> Architecture:
        """The network that an experiment's name stands for under this profile."""
        return parse_experiment(experiment, self.features_divisor, self.centre_counts_as_level)

    def batch_size(self, dimensions: int) -> int:
        """Slices (2D) or volumes (3D) in a training step."""
        return self.batch_size_2d if dimensions == 2 else self.batch_size_3d

    def passes(self, dimensions: int) -> int:
        """How often an epoch sees each slice (2D) or volume (3D)."""
        return 1 if dimensions == 2 else self.passes_3d

    def cost(self, experiment: str) -> Cost:
        """What one input of a network costs at this profile's size: three slices (2D), or a volume (3D)."""
        architecture = self.architecture(experiment)
        grid = self.grid(architecture.dimensions)
        size = (grid.rows, grid.columns, grid.slices)[: architecture.dimensions]
        return cost(architecture, padded_size(size, architecture.size_multiple) if architecture.padded else size)

    def training_bytes(self, experiment: str, bytes_per_number: int = 4) -> int:
        """The least memory that a training step of a network takes."""
        batch = self.batch_size(self.architecture(experiment).dimensions)
        return self.cost(experiment).training_bytes(batch, bytes_per_number)

    def work(self, experiment: str) -> int:
        """Multiplications for one whole scan on the way forwards, to compare networks by."""
        slices = self.grid_2d[2] if self.architecture(experiment).dimensions == 2 else 1
        return slices * self.cost(experiment).multiplications


def run_name(experiment: str, fold: int) -> str:
    """The folder's name of a run among others."""
    return f"{experiment}-fold{fold}"


def profiles_folder() -> Path:
    """Where the profiles lie: beside the library in a checkout, inside it when installed from a wheel."""
    checkout = Path(__file__).parents[1] / "profiles"
    return checkout if checkout.is_dir() else Path(str(resources.files("femur_lib") / "profiles"))


def load_profile(name: str | os.PathLike) -> Profile:
    """Read a profile by its name (``quick``) or by the path of a YAML file.

    Raises:
        DataError: there is no such profile, or a setting in it is unknown or out of range.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = profiles_folder() / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in profiles_folder().glob("*.yaml")))
        raise DataError(name, "no such profile", f"{known}, or the path of a .yaml file", "Check the name.")
    try:
        return Profile(**yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else str(error)
        raise DataError(path, found, "the settings of femur_lib.experiments.Profile", "Correct it.") from None
