"""Masks are seen from the side that is named, in their size, and no picture turns left into right."""

import sys

import numpy as np
import pytest
from conftest import affine_of

from femur_lib.course.view_3d import VIEWS, depth_mm, drawable, seen_from, shaded, surface_views, volume_view
from femur_lib.volumes import Volume

SPACING = (1.0, 2.0, 3.0)  # rows, columns, slices


def stack_with(voxel) -> Volume:
    mask = np.zeros((12, 10, 8), bool)
    mask[voxel] = True
    return Volume(mask, affine_of("ILP", SPACING))


@pytest.mark.parametrize(
    ("view", "top", "patient_left", "front"),
    [
        # where the topmost, leftmost (of the patient) and frontmost planes are found: axis of the view, and its end
        ("from the front", (0, 0), (1, -1), (2, 0)),
        ("from the patient's left", (0, 0), (2, 0), (1, 0)),
        ("from above", (2, 0), (1, -1), (0, -1)),
    ],
)
def test_views_look_from_where_they_say(view, top, patient_left, front):
    planes = {"top": (np.s_[0], top), "left": (np.s_[:, -1], patient_left), "front": (np.s_[:, :, 0], front)}
    for plane, (axis, end) in planes.values():
        array = np.zeros((4, 5, 6), bool)
        array[plane] = True
        assert np.take(seen_from(array, view), end, axis).all()


def test_a_view_is_no_mirror_image():
    """Down, right and away from the viewer make a right-handed triad in the patient, whatever the view."""
    stack_axes = np.array([[0, 0, -1], [-1, 0, 0], [0, -1, 0]])  # inferior, left, posterior in (right, front, up)
    for view in VIEWS:
        turned = []
        for direction in range(3):
            ramp = np.zeros(3)
            for axis in range(3):
                index = np.indices((3, 3, 3))[axis]
                seen = seen_from(index, view)
                ramp += (np.take(seen, 2, direction).mean() - np.take(seen, 0, direction).mean()) / 2 * stack_axes[axis]
            turned.append(ramp)
        right_down_away = np.stack([turned[1], turned[0], turned[2]])
        assert np.linalg.det(right_down_away) == pytest.approx(1)


def test_depth_is_that_of_the_first_voxel_in_mm():
    mask = np.zeros((2, 2, 5), bool)
    mask[0, 0, 3:] = True
    mask[1, 0, 1] = True
    assert np.array_equal(depth_mm(mask, 2.0), [[6.0, np.nan], [2.0, np.nan]], equal_nan=True)


def test_a_ball_is_brightest_at_its_upper_left():
    grid = np.indices((41, 41, 41)) - 20
    ball = (grid**2).sum(0) < 15**2
    picture = shaded(depth_mm(ball, 1.0), (1.0, 1.0), "white")
    assert picture[13, 13, 0] > picture[20, 20, 0] > picture[27, 27, 0]
    assert (picture[0, 0] == 1).all()


def test_the_figure_is_in_millimetres_and_counts_what_differs():
    figure = surface_views(stack_with(np.s_[2:6, 2:6, 2:6]), stack_with(np.s_[2:6, 2:6, 2:4]))
    front, difference = figure.axes[0], figure.axes[6]
    assert front.images[0].get_extent() == [0, 20, 12, 0]
    assert difference.images[0].get_array().max() == 2 * 3.0
    assert len(surface_views(stack_with(np.s_[2:6, 2:6, 2:6])).axes) == 3


def test_what_is_drawn_in_the_browser_keeps_place_and_hand():
    field, (left0, left1, back0, back1, up0, up1) = drawable(stack_with(np.s_[1:6, 6:9, 0:4]))
    assert (left0, back0, up0) == (0, 0, 0)
    assert (left1, back1, up1) == (12 * 2.0, 10 * 3.0, 14 * 1.0)  # with a voxel around
    up, back, left = (np.average(np.arange(n), weights=w) / n for n, w in zip(field.shape, sums(field), strict=True))
    assert up > 0.5  # the mask lies in the upper rows,
    assert back < 0.5  # in front,
    assert left > 0.5  # and on the patient's left
    assert field.dtype == np.float32
    assert field[:, 0].max() < 0.5  # closed, though the mask touches the border


def sums(field: np.ndarray):
    return [field.sum(tuple(a for a in range(3) if a != axis)) for axis in range(3)]


def test_a_large_scan_is_thinned_out():
    field, _ = drawable(Volume(np.ones((300, 20, 10), bool), affine_of("ILP")))
    assert max(field.shape) <= 160


def test_without_k3d_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "k3d", None)
    with pytest.raises(ImportError, match="pip install k3d"):
        volume_view(stack_with(np.s_[2:6, 2:6, 2:6]))


def test_each_surface_can_be_switched_off():
    pytest.importorskip("k3d")
    masks = stack_with(np.s_[2:6, 2:6, 2:6]), stack_with(np.s_[2:6, 2:6, 2:4])
    boxes, plot = volume_view(*masks).children
    assert [b.description for b in boxes.children] == ["manual", "predicted"]
    assert [o.name for o in plot.objects] == ["manual", "predicted"]
    assert len(volume_view(masks[0]).children[1].objects) == 1
