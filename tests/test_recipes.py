"""A recipe is a name, or a name with other ingredients; it survives being written down."""

import pytest
from pydantic import ValidationError

from femur_lib.experiments import Profile, load_profile
from femur_lib.recipes import RECIPES


def recipe_of(given):
    return Profile(profile="x", recipe=given).recipe


def test_the_papers_recipe_is_what_the_paper_says():
    paper = recipe_of("paper")
    assert paper == RECIPES["paper"] == load_profile("paper").recipe
    assert (paper.loss, paper.augmentation, paper.schedule) == ("weighted-cross-entropy", ("flip",), "constant")
    assert (paper.keep, paper.monitor) == ("best", "accuracy")


def test_ingredients_are_exchanged_one_by_one_and_the_name_says_so():
    changed = recipe_of({"base": "ours", "loss": "tversky", "augmentation": []})
    assert changed == RECIPES["ours"].model_copy(update={"loss": "tversky", "augmentation": ()})
    assert changed.name == "ours, loss tversky, augmentation none"
    assert recipe_of({"base": "ours"}).name == "ours"


def test_without_a_base_ingredients_are_exchanged_in_the_papers():
    assert recipe_of({"monitor": "dice"}).name == "paper, monitor dice"


@pytest.mark.parametrize("given", ["paper", "ours", {"base": "ours", "keep": "average"}])
def test_a_recipe_comes_back_from_a_record(given):
    profile = Profile(profile="x", recipe=given)
    assert Profile(**profile.model_dump(mode="json")) == profile


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("theirs", "one of paper, ours, got 'theirs'"),
        ({"base": "theirs"}, "got 'theirs'"),
        ({"base": "ours", "loss": "hinge"}, "tversky"),
        ({"lost": "tversky"}, "lost"),
        ({"augmentation": ["turn"]}, "rotate"),
        (3, "dictionary"),
    ],
)
def test_what_is_no_recipe_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        recipe_of(given)
