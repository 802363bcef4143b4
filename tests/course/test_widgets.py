"""Widgets show the patient the right way round, and their knobs do what they say and no more work than that."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import affine_of

from femur_lib.course import scan_steps, widgets
from femur_lib.course.scan_steps import scan_steps_viewer
from femur_lib.course.widgets import slice_viewer, threshold_viewer
from femur_lib.phantom.body import Body
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import paint
from femur_lib.phantom.scanner import steps_of, taken_apart
from femur_lib.phantom.subject import draw_person
from femur_lib.volumes import Volume

PIXELS, SLICES = 40, 8


@pytest.fixture
def drawn(monkeypatch) -> list:
    """What was drawn: (picture, contours, aspect) of every call."""
    calls: list = []
    real = widgets.show_slice

    def spy(ax, image, *masks, aspect=1.0, **others):
        calls.append((image, masks, aspect))
        return real(ax, image, *masks, aspect=aspect, **others)

    for module in (widgets, scan_steps):
        monkeypatch.setattr(module, "show_slice", spy)
    return calls


@pytest.mark.parametrize(
    ("plane", "shape", "aspect"),
    [
        ("coronal", (6, 8), 2 / 3),  # head up, the patient's right on the left
        ("sagittal", (6, 4), 2 / 5),  # head up, front on the left
        ("axial", (4, 8), 5 / 3),  # front up, the patient's right on the left
    ],
)
def test_every_plane_is_drawn_as_radiologists_see_it(drawn, plane, shape, aspect):
    stack = np.zeros((6, 8, 4), np.float32)
    for face in (stack[0], stack[:, 0], stack[..., 0]):  # top, right, front
        face += 1
    image = Volume(stack, affine_of("ILP", (2.0, 3.0, 5.0)))
    viewer = slice_viewer(image, Volume(stack > 1, image.affine))
    direction, (number, _) = viewer.children[0], viewer.children[1].children
    direction.value = plane
    number.value = 1
    picture, (contour, _), ratio = drawn[-1]
    assert picture.shape == contour.shape == shape
    assert np.argwhere(picture == 2).tolist() == [[0, 0]]
    assert contour[0, 0]
    assert ratio == pytest.approx(aspect)


def test_contours_can_be_switched_off(drawn):
    image = Volume(np.zeros((6, 8, 4), np.float32), affine_of("ILP"))
    viewer = slice_viewer(image, Volume(image.array == 0, image.affine))
    viewer.children[1].children[1].value = False
    assert drawn[-1][1] == (None, None)


def test_the_threshold_s_words_follow_the_slider():
    probability = np.zeros((6, 8, 4), np.float32)
    probability[:, :4], truth = 0.6, np.zeros((6, 8, 4), bool)
    truth[:, :4] = True
    a = affine_of("ILP")
    viewer = threshold_viewer(*(Volume(v, a) for v in (probability, truth, probability)))
    slider, words, _ = viewer.children
    assert "Dice <b>1.000" in words.value
    slider.value = 0.7
    assert "Dice <b>0.000" in words.value


@pytest.fixture
def painted(monkeypatch) -> list:
    """The slices that were painted."""
    calls: list = []

    def spy(body, k):
        calls.append(k)
        return paint(body, k)

    monkeypatch.setattr(scan_steps, "paint", spy)
    return calls


def controls(viewer) -> dict:
    """A viewer's sliders and boxes, by what stands beside them, and its picture."""
    rows = [*viewer.children[0].children, *viewer.children[1].children]
    return {c.description: c for c in rows} | {"picture": viewer.children[2]}


def moved(c: dict, name: str, value) -> bool:
    """Whether the picture changes with a control."""
    before = c["picture"].value
    c[name].value = value
    return c["picture"].value != before


def test_a_knob_changes_its_step_and_those_after_and_paints_nothing_anew(painted):
    c = controls(scan_steps_viewer(draw_person(0, 0), PIXELS, SLICES))
    assert len(painted) == 1
    c["up to"].value = "received"
    assert not moved(c, "ghost", 0.3)
    assert not moved(c, "SNR", 5)
    assert not moved(c, "chemical shift", False)
    assert moved(c, "coil bias", 0)
    c["up to"].value = "chemical shift"
    assert moved(c, "chemical shift", True)
    assert not moved(c, "ghost", 0.1)
    c["up to"].value = "k-space"
    assert moved(c, "ghost", 0.3)
    assert not moved(c, "SNR", 9)
    c["up to"].value = "noise"
    assert moved(c, "SNR", 20)
    assert len(painted) == 1
    assert moved(c, "fold-over", 0.8)
    assert moved(c, "slice", 2)
    assert painted == [painted[0], painted[0], 2]


def test_every_step_can_be_shown_whether_something_folds_over_or_not(drawn):
    c = controls(scan_steps_viewer(draw_person(0, 0), PIXELS, SLICES))
    c["up to"].value = "slab profile"
    for strength in (0.0, 0.7):
        c["fold-over"].value = strength
        c["up to"].value = "slab profile"
        before = drawn[-1][0]
        for name in c["up to"].options:
            c["up to"].value = name
        c["up to"].value = "fold-over"
        assert np.array_equal(drawn[-1][0], before) == (strength == 0)


def test_a_slice_painted_wide_is_taken_apart_like_one_that_is_not():
    """The viewer paints beyond the field of view as soon as something folds over; she stays who she is."""
    person = draw_person(0, 3)
    person = replace(person, protocol=replace(person.protocol, fold_over=0.0, ghost=0.1))
    wide = Field(PIXELS, SLICES, beyond=True)
    got = steps_of(paint(Body(person, wide), 4), wide, 4, person.protocol, (person.seed, person.number, 5, 4))
    for name, image in taken_apart(person, 4, PIXELS, SLICES).items():
        np.testing.assert_allclose(got.pop(name), image, atol=0.01, err_msg=name)
    assert not got


def test_pictures_keep_their_own_size():
    """Otherwise a box stretches them to the page's width, and the sliders above them scroll away."""
    image = Volume(np.zeros((6, 8, 4), np.float32), affine_of("ILP"))
    picture = slice_viewer(image).children[2]
    assert (picture.layout.align_self, picture.layout.max_width) == ("flex-start", "100%")
