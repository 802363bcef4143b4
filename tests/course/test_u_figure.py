"""The figure of a U-net."""

import matplotlib.pyplot as plt

from femur_lib.course.u_figure import draw_u


def test_each_level_stands_on_both_sides_and_the_centre_once():
    figure = draw_u(["one", "two", "centre"], "a U-net")
    texts = [text.get_text() for text in figure.axes[0].texts]
    plt.close(figure)
    assert [texts.count(name) for name in ("one", "two", "centre")] == [2, 2, 1]
    assert texts.count("") == 3 * 2  # arrows: copied, down and up, for each level above the centre
