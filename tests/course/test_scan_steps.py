"""The figure that takes a synthetic scan apart shows every step, with what it changed."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from femur_lib.course.scan_steps import scan_steps


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def made_up_steps() -> dict[str, np.ndarray]:
    """From "chemical shift" on, each step adds something of its own; the slab profile adds nothing."""
    fat, water = np.full((2, 8, 8), 0.25)
    received = 0.6 * np.ones((8, 8))
    return {
        "anatomy": np.arange(64).reshape(8, 8) // 16,
        "signal of fat": fat,
        "signal of water": water,
        "fat + water": fat + water,
        "coils": received / 0.5,
        "received": received,
        "chemical shift": received + 0.1,
        "slab profile": received + 0.1,
        "fold-over": received + 0.3,
        "k-space": received + 0.7,
        "noise": received + 1.5,
    }


def drawn(steps: dict) -> tuple[dict, plt.Figure]:
    """The figure, and its axes by their titles."""
    figure = scan_steps(steps)
    return {ax.get_title(): ax for ax in figure.axes if ax.get_title()}, figure


def shown(ax) -> np.ndarray:
    return np.asarray(ax.images[0].get_array())


def test_steps_are_numbered_in_order_and_share_one_grey_window():
    steps = made_up_steps()
    axes, _ = drawn(steps)
    for number, (name, image) in enumerate(steps.items(), start=1):
        assert np.array_equal(shown(axes[f"{number}  {name}"]), image)
    windows = {axes[f"{n}  {name}"].images[0].get_clim() for n, name in enumerate(steps, start=1) if name != "anatomy"}
    assert len(windows) == 1


def test_each_change_is_against_the_step_before_and_brighter_is_red():
    axes, _ = drawn(made_up_steps())
    changes = {title: shown(ax).mean() for title, ax in axes.items() if "less" in title}
    assert changes == pytest.approx(  # what is received is compared with fat and water, not with the coils
        {"6 less 4": 0.1, "7 less 6": 0.1, "8 less 7": 0, "9 less 8": 0.2, "10 less 9": 0.4, "11 less 10": 0.8}
    )
    assert "no change" in axes["8 less 7"].texts[0].get_text()
    assert not axes["9 less 8"].texts
    image = axes["9 less 8"].images[0]
    red, _, blue, _ = image.to_rgba(image.get_array())[0, 0]
    assert red > blue


def test_a_scan_without_fold_over_is_taken_apart_too():
    steps = made_up_steps()
    del steps["fold-over"]
    axes, _ = drawn(steps)
    assert shown(axes["9 less 8"]).mean() == pytest.approx(0.6)
    assert "11  noise" not in axes


def test_the_legend_of_the_anatomy_has_the_colours_of_its_picture():
    axes, figure = drawn(made_up_steps())
    picture = axes["1  anatomy"].images[0]
    (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
    for label, patch in enumerate(legend.get_patches()):
        assert picture.cmap(picture.norm(label)) == pytest.approx(patch.get_facecolor())
