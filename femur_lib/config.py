"""How large, and by which recipe: a profile is read once, and resolved once for each network.

A *recipe* is how to train, and nothing else. ``paper`` is the paper's: Eq. 1, Adam at a constant rate, flips, early
stopping on validation accuracy, the weights of the best epoch, the threshold from the validation fold. ``ours`` is made
for unseen patients: Dice plus cross-entropy, copies of the scans that are deformed and lit differently, a learning rate
that falls to zero over a fixed number of epochs, the weights of the last epoch, the threshold from the training scans.
Its validation fold serves nothing but validation. ``drawn`` is for hips that are drawn while the network is trained
(:mod:`femur_lib.lab.drawn`): ours, with scans that differ by chance in whatever a scanner can do.

A *profile* is a YAML file of sizes: the grid, the epochs, the networks. It changes the method only through its recipe,
which says so by its name::

    recipe: paper
    recipe: {base: ours, loss: weighted-cross-entropy, augmentation: [flip, rotate]}

:func:`resolve` turns a profile and a network's name into :class:`Settings`, one object that all later steps take.
"""

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import can_write
from femur_lib._runtime.machine import (
    avoid_onednn_where_it_hangs,
    choose_precision,
    machine_bytes,
    refuse_hopeless,
)
from femur_lib.architecture import (
    PAPER_NETWORKS,
    Architecture,
    Cost,
    cost,
    input_size,
    parse_network,
    seed_of,
    with_features,
)
from femur_lib.preprocessing import Grid, padded_size

Loss = Literal["weighted-cross-entropy", "border-weighted", "cross-entropy", "dice-cross-entropy"]
Augmentation = Literal["flip", "rotate", "scale", "elastic", "intensity", "noise"]
Drawing = Literal["position", "slices", "contrast", "coils", "noise", "artefacts"]
RETIRED = {"gpus": 1, "intensities": "z-score"}  # settings of older runs, and the only value that still means anything


class Recipe(BaseModel):
    """The ingredients of a training. The defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(default="paper", description="the named recipe that this is, or was changed from")
    loss: Loss = Field(default="weighted-cross-entropy", description="what is minimised, see femur_lib.losses")
    augmentation: tuple[Augmentation, ...] = Field(default=("flip",), description="see femur_lib.augmentation")
    drawing: tuple[Drawing, ...] = Field(
        default=(), description="what is left to chance in hips that are drawn, see femur_lib.phantom.randomised"
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="of the learning rate; cosine warms up for an epoch, then falls to zero"
    )
    keep: Literal["best", "last", "average"] = Field(
        default="best",
        description="the weights of the best epoch by the validation scans, with early stopping; those of the last "
        "of a fixed number of epochs; or their running average at that point",
    )
    monitor: Literal["accuracy", "dice", "loss"] = Field(
        default="accuracy", description="the validation score that early stopping and the best epoch go by"
    )

    @property
    def name(self) -> str:
        """The base, and what was changed in it."""
        given, named = self.model_dump(mode="json"), RECIPES[self.base].model_dump(mode="json")
        changed = [
            f"{k} {v if isinstance(v, str) else ' '.join(v) or 'none'}" for k, v in given.items() if v != named[k]
        ]
        return ", ".join([self.base, *changed])

    @property
    def watched(self) -> tuple[str, Literal["min", "max"]]:
        """The column of the history that tells the best epoch, and which of its values is the best."""
        return f"val_{self.monitor}", "min" if self.monitor == "loss" else "max"


RECIPES = {
    "paper": Recipe(),
    "ours": Recipe(
        base="ours",
        loss="dice-cross-entropy",
        augmentation=("flip", "rotate", "scale", "elastic", "intensity", "noise"),
        schedule="cosine",
        keep="last",
    ),
    "drawn": Recipe(
        base="drawn",
        loss="dice-cross-entropy",
        augmentation=("flip", "rotate", "scale", "elastic", "intensity"),
        drawing=get_args(Drawing),
        schedule="cosine",
        keep="last",
    ),
}


class Profile(BaseModel):
    """The sizes and the recipe of a training. The defaults are the paper's (Table 5 and Methods)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str = Field(pattern=r"^\w[\w .+-]*$", description="its name, after which the folder of its runs is called")
    subjects: int = Field(86, ge=4, description="how many synthetic hips to make, or women to draw, without a cohort")
    grid_2d: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (512, 512, 48), description="rows, columns and slices that 2D networks are trained on"
    )
    grid_3d: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        (256, 256, 48), description="rows, columns and slices that 3D networks are trained on"
    )
    features_divisor: int = Field(1, ge=1, description="divides the number of maps of every network")
    centre_counts_as_level: bool = Field(False, description="whether L levels pool L - 1 times instead of L times")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto", description="what to compute in, see femur_lib._runtime.machine"
    )
    recipe: Recipe = Field(RECIPES["paper"], description="a recipe's name, or its name and other ingredients")
    epochs: int = Field(200, ge=1, description="at most this many")
    first_epochs: int = Field(30, ge=0, description="epochs before early stopping may act")
    patience: int = Field(10, ge=1, description="epochs without improvement after which it acts")
    min_delta: float = Field(
        1e-4, ge=0, allow_inf_nan=False, description="an improvement of validation accuracy is larger than this"
    )
    learning_rate: float = Field(5e-5, gt=0, allow_inf_nan=False)
    batch_size_2d: int = Field(1, ge=1)
    batch_size_3d: int = Field(1, ge=1)
    passes_3d: int = Field(1, ge=1, description="how often an epoch of a 3D network sees each scan")
    epoch_scans: int = Field(
        0, ge=0, description="how many scans an epoch has at least; if there are fewer, it sees them more often"
    )
    start_from: str = Field(
        "", description="a finished run of the same network to begin with, or the name of weights in femur_lib/weights"
    )
    folds: int = Field(4, ge=2)
    seed: int = Field(0, ge=0, lt=2**32)
    training_seed: int | None = Field(
        None,
        ge=0,
        lt=2**32,
        description="of weights, order and augmentation, to repeat a training on the same folds; None: seed",
    )
    flip_predictions: bool = Field(False, description="average each prediction with that of the mirrored scan")
    patches: Literal["nine", "one"] = Field(
        "nine", description="for unpadded networks: the paper's nine patches, or one pass over the mirrored slice"
    )
    evaluation_slices: Literal["all", "central"] = Field(
        "all",
        description="of scans with more slices than the grid, those that are predicted where masks are scored and the "
        "threshold is chosen; the others are left empty. New scans are always predicted whole",
    )
    deterministic: bool = Field(False, description="repeat to the last bit on one device, at some cost of speed")
    networks: tuple[str, ...] = Field(
        (), validation_alias=AliasChoices("networks", "experiments"), description="those that the notebooks train"
    )
    study: tuple[str, ...] = Field(
        (),
        description="networks of the whole study; \"paper\" stands for the paper's 18; none: the notebooks' networks",
    )
    study_folds: int = Field(0, ge=0, description="how many folds the study trains, from the first on; 0: all")

    @model_validator(mode="before")
    @classmethod
    def _without_retired_settings(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if key not in RETIRED or value != RETIRED[key]}

    @field_validator("study", mode="before")
    @classmethod
    def _networks_of_the_paper(cls, given: Any) -> Any:
        names = [given] if isinstance(given, str) else given
        return [n for name in names for n in (PAPER_NETWORKS if name == "paper" else (name,))]

    @field_validator("networks", "study")
    @classmethod
    def _names_of_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for name in given:
            parse_network(name)
        return given

    @field_validator("recipe", mode="before")
    @classmethod
    def _named_recipe(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"base": given}
        if not isinstance(given, dict):
            return given
        base = given.get("base", "paper")
        if base not in RECIPES:
            raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {base!r}")
        return Recipe(**RECIPES[base].model_dump() | given)

    def changed(self, **settings: Any) -> "Profile":
        """The same with other settings, checked as those of a file are."""
        return Profile(**self.model_dump() | settings)

    def grid(self, dimensions: int) -> Grid:
        """The grid of 2D or of 3D networks."""
        return Grid(*(self.grid_2d if dimensions == 2 else self.grid_3d))

    def architecture(self, network: str) -> Architecture:
        """What a network's name stands for under this profile."""
        return parse_network(network, self.features_divisor, self.centre_counts_as_level)

    def batch_size(self, dimensions: int) -> int:
        """Slices (2D) or volumes (3D) in a training step."""
        return self.batch_size_2d if dimensions == 2 else self.batch_size_3d

    def cost(self, network: str) -> Cost:
        """What one input of a network costs at this profile's size: three slices (2D) or a volume (3D)."""
        architecture = self.architecture(network)
        grid = self.grid(architecture.dimensions)
        size = (grid.rows, grid.columns, grid.slices)[: architecture.dimensions]
        return cost(architecture, padded_size(size, architecture.size_multiple) if architecture.padded else size)

    def training_bytes(self, network: str, bytes_per_number: int = 4) -> int:
        """The least memory that a training step of a network takes."""
        batch = self.batch_size(self.architecture(network).dimensions)
        return self.cost(network).training_bytes(batch, bytes_per_number)

    def work(self, network: str) -> int:
        """Multiplications of one pass over a whole scan, by which networks can be compared."""
        slices = self.grid_2d[2] if self.architecture(network).dimensions == 2 else 1
        return slices * self.cost(network).multiplications


@dataclass(frozen=True)
class Settings:
    """All that the training of one network depends on besides the scans; made by :func:`resolve`.

    Attributes:
        network: its name.
        profile: what it was resolved from, for the record.
        architecture, grid, batch_size, precision: what the profile means for this network on this machine.
        recipe: how to train.
        seed: of weights, order and augmentation.
    """

    network: str
    profile: Profile
    architecture: Architecture
    grid: Grid
    batch_size: int
    precision: str
    recipe: Recipe
    seed: int

    def input_size(self, patches: str = "nine") -> tuple[int, int] | None:
        """Rows and columns that an unpadded network is built for (it trains as for "nine"); None for a padded one."""
        return input_size(self.architecture, self.grid.rows, self.grid.columns, patches)

    def passes(self, scans: int) -> int:
        """How often an epoch of the training sees each of so many scans."""
        least = 1 if self.architecture.dimensions == 2 else self.profile.passes_3d
        return max(least, -(-self.profile.epoch_scans // scans))


def resolve(profile: Profile, network: str, precision: str = "") -> Settings:
    """What a profile means for one network, on this machine.

    Args:
        profile: sizes and recipe.
        network: its name.
        precision: instead of the profile's: a training goes on in the precision in which it began.

    Raises:
        DataError: the name is not a network's, or the network cannot be built at the profile's size or on this machine.
    """
    architecture = profile.architecture(network)
    try:
        least = profile.cost(network).inference_bytes()
    except ValueError as error:
        raise DataError(
            f"The profile {profile.profile} cannot train {network}: {error}.", "Take fewer levels, or a larger grid."
        ) from None
    refuse_hopeless(network, least, machine_bytes())
    seeds = (seed_of(network), profile.training_seed, profile.seed)
    return Settings(
        network=network,
        profile=profile,
        architecture=architecture,
        grid=profile.grid(architecture.dimensions),
        batch_size=profile.batch_size(architecture.dimensions),
        precision=choose_precision(precision or profile.precision, architecture.features, architecture.dimensions),
        recipe=profile.recipe,
        seed=next(seed for seed in seeds if seed is not None),
    )


def prepare_backend(profile: Profile, network: str, features: int = 0) -> None:
    """Set what a backend reads once, when it starts; to be called before Keras is imported where that is possible.

    ``features``: the largest F of a search, instead of the network's own.
    """
    architecture = profile.architecture(with_features(network, features) if features else network)
    grid = profile.grid(architecture.dimensions)
    avoid_onednn_where_it_hangs(architecture.dimensions, architecture.features, grid.rows, grid.columns)


def run_name(network: str, fold: int) -> str:
    """The name of a run's folder among others."""
    return f"{network}-fold{fold}"


def home() -> Path:
    """The checkout of the course; where the library was installed without one, the working directory."""
    checkout = Path(__file__).parents[1]
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def own_folder(name: str) -> Path:
    """Where a folder lies that the user makes, such as ``runs/quick`` or ``exercises``.

    Below the folder that the environment variable FEMUR_HOME names; else in the checkout, if it can be written there;
    else below ``hip-course`` in the user's home. So a shared course that is only read needs no settings.
    """
    if os.environ.get("FEMUR_HOME"):
        return Path(os.environ["FEMUR_HOME"]).expanduser().resolve() / name
    return home() / name if can_write(home() / name) else Path.home() / "hip-course" / name


def profiles_folder() -> Path:
    """Where the profiles lie: beside the library in a checkout, inside it when installed from a wheel."""
    checkout = Path(__file__).parents[1] / "profiles"
    return checkout if checkout.is_dir() else Path(str(resources.files("femur_lib") / "profiles"))


def load_profile(name: str | os.PathLike) -> Profile:
    """Read a profile by its name or by the path of a YAML file.

    >>> load_profile("paper").grid_3d
    (256, 256, 48)

    Raises:
        DataError: there is no such profile, or a setting in it is unknown or out of range.
    """
    path, known = Path(name), {p.stem: p for p in profiles_folder().glob("*.yaml")}
    if path.suffix not in (".yaml", ".yml"):
        path = known.get(str(name), Path())
    if not path.is_file():
        raise DataError(
            f"There is no profile {name}; {', '.join(sorted(known))} or the path of a .yaml file was expected.",
            "Check the name.",
        )
    try:
        return Profile(**yaml.safe_load(path.read_bytes()))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        wrong = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else " ".join(str(error).split())
        raise DataError(
            f"{path} is not a profile: {wrong}. The settings of femur_lib.config.Profile were expected.",
            "Correct the file.",
        ) from None
