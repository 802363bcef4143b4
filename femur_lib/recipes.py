"""How a network is trained, apart from its size: the paper's recipe, ours, and every ingredient by itself.

``paper`` is the paper's: Eq. 1, Adam at a constant rate, flips, early stopping on validation accuracy, the best
epoch's weights, the threshold from the validation fold. ``ours`` is chosen for unseen patients: Dice plus
cross-entropy, deformed and re-lit copies of the scans, a rate that falls to zero over a fixed number of epochs, the
last epoch's weights, the threshold from the training scans. Its validation fold serves nothing but validation.

A profile names one of them, or one with other ingredients::

    recipe: paper
    recipe: {base: ours, loss: tversky, augmentation: [flip, rotate]}
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Loss = Literal[
    "weighted-cross-entropy",
    "weighted-by-scan",
    "border-weighted",
    "cross-entropy",
    "dice-cross-entropy",
    "tversky",
    "focal",
]
Augmentation = Literal["flip", "rotate", "scale", "elastic", "intensity", "noise"]


class Recipe(BaseModel):
    """The ingredients of a training. Defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(default="paper", description="the named recipe it is, or was changed from")
    loss: Loss = Field(default="weighted-cross-entropy", description="what is minimised, see femur_lib.losses")
    augmentation: tuple[Augmentation, ...] = Field(default=("flip",), description="see femur_lib.augmentation")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="of the learning rate; cosine warms up for an epoch, then falls to nothing"
    )
    keep: Literal["best", "last", "average"] = Field(
        default="best",
        description="weights of the best epoch, with early stopping, by the validation scans; of the last of a fixed "
        "number of epochs; or their running average there",
    )
    monitor: Literal["accuracy", "femur_accuracy", "dice", "loss"] = Field(
        default="accuracy", description="what of the validation scans early stopping and the best epoch go by"
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
        """The column of the history that tells the best epoch, and which of its values is best."""
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
}


def find_recipe(given: Any) -> Any:
    """A recipe by name, or a named one with ingredients exchanged; whatever is neither is left to pydantic.

    Raises:
        ValueError: there is no recipe of that name.
    """
    if isinstance(given, str):
        given = {"base": given}
    if not isinstance(given, dict):
        return given
    base = given.get("base", "paper")
    if base not in RECIPES:
        raise ValueError(f"recipe is one of {', '.join(RECIPES)}, got {base!r}")
    return Recipe(**RECIPES[base].model_dump() | given)
