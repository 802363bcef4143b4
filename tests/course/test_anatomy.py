"""The figure that names the parts of a hip: each line ends where the part is."""

import matplotlib.pyplot as plt
import pytest

from femur_lib.course.anatomy import _slice, draw_anatomy


@pytest.fixture(scope="module")
def pointed_at():
    figure = draw_anatomy()
    _, _, mask = _slice()
    places = {}
    for text in figure.axes[0].texts:
        column, row = (round(float(n)) for n in text.xy)
        places[text.get_text().split(":")[0]] = row, column, bool(mask[row, column])
    plt.close(figure)
    return places


def test_parts_of_the_mask_are_pointed_at_inside_it_and_the_others_outside(pointed_at):
    inside = {name for name, (*_, within) in pointed_at.items() if within}
    assert inside == {"head", "neck", "greater trochanter", "lesser trochanter", "marrow"}


def test_the_acetabulum_lies_around_the_head_and_the_shaft_below_the_trochanters(pointed_at):
    row = {name: place[0] for name, place in pointed_at.items()}
    assert row["pelvis"] < row["acetabulum (socket)"] < row["head"] < row["neck"] < row["lesser trochanter"]
    assert row["lesser trochanter"] < row["shaft"]


def test_cortex_is_dark_and_marrow_bright(pointed_at):
    _, image, _ = _slice()
    brightness = {
        name: image[row - 1 : row + 2, column - 1 : column + 2].mean() for name, (row, column, _) in pointed_at.items()
    }
    assert brightness["cortex"] < 0.25 * brightness["marrow"]
    assert brightness["shaft"] > 0.5 * brightness["marrow"]
