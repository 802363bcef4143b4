"""The tile microscope shows what the nine patches do, and what it says they see is what a network sees."""

import numpy as np
import pytest
from receptive_field_oracle import measured_receptive_field

from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.course.tile_microscope import answers, field_in_patch, tile_figure, tile_microscope
from femur_lib.inference import nine_patches
from femur_lib.unet import unet

LEVELS = 2


def at(pixel, size=60, levels=LEVELS, multiple=1):
    geometry = unpadded_geometry(size, levels)
    return answers(pixel, geometry, geometry, levels, multiple)


class Counting:
    """A network that answers every pixel with 1 plus the first pixel of its patch."""

    def __init__(self, size: int):
        self.output = unpadded_geometry(size, LEVELS).output

    def predict_on_batch(self, x):
        answer = np.ones((len(x), self.output, self.output, 2))
        return answer * (1 + x[:, :1, :1, :1])


def test_as_many_patches_answer_as_nine_patches_averages():
    size = 60
    seen = np.zeros((size, size))
    g = unpadded_geometry(size, LEVELS)
    for r in range(size):
        for c in range(size):
            seen[r, c] = len(at((r, c), size))
    starts = {(a.row, a.column) for r in (0, 30, 59) for c in (0, 30, 59) for a in at((r, c), size)}
    assert len(starts) == 9
    count = sum(
        np.pad(np.ones((g.output, g.output)), ((r, size), (c, size)))[:size, :size] for r, c in starts
    )  # fmt: skip
    assert np.array_equal(seen, count)
    assert seen[0, 0] == 1


def test_the_average_is_that_of_the_patches_named():
    size, pixel = 60, (5, 33)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (1, size, size, 3)).astype(np.float32)
    g = unpadded_geometry(size, LEVELS)
    mirrored = np.pad(images, ((0, 0), (g.before, g.after), (g.before, g.after), (0, 0)), mode="reflect")
    expected = np.mean([1 + mirrored[0, a.row, a.column, 0] for a in at(pixel, size)])
    assert nine_patches(Counting(size), images, LEVELS)[(0, *pixel)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("size", "levels"), [(50, 2), (61, 2), (110, 3)])
def test_the_field_is_the_one_that_gradients_measure(size, levels):
    model = unet(Architecture(2, 2, levels, padded=False), (size, size))
    for pixel in (0, 3, 6):
        expected = field_in_patch(pixel, levels)
        assert measured_receptive_field(model, (size, size), (pixel, pixel), 3) == (expected, expected)


def test_the_share_mirrored_is_that_of_the_field_s_pixels_outside_the_image():
    for pixel in ((0, 0), (59, 20), (30, 30), (3, 59)):
        for a in at(pixel):
            rows, columns = np.arange(a.first_row, a.last_row + 1), np.arange(a.first_column, a.last_column + 1)
            inside = ((rows >= 0) & (rows < 60))[:, None] & ((columns >= 0) & (columns < 60))
            assert a.mirrored == pytest.approx(1 - inside.mean())
            assert a.first_row <= pixel[0] <= a.last_row


def test_the_field_lies_around_its_pixel_and_begins_where_the_mirrored_image_does():
    before = unpadded_geometry(60, LEVELS).before
    assert [(a.first_row, a.first_column) for a in at((0, 0))] == [(-before, -before)]
    for pixel in ((0, 59), (30, 31), (17, 44)):
        for a in at(pixel):
            assert abs((a.first_row + a.last_row) / 2 - pixel[0]) <= 2**LEVELS
            assert abs((a.first_column + a.last_column) / 2 - pixel[1]) <= 2**LEVELS


def test_nothing_is_mirrored_where_the_field_lies_inside():
    assert [a.mirrored for a in at((100, 100), 200)] == [0] * len(at((100, 100), 200))


def test_patches_at_multiples_of_the_block_see_the_same():
    size, pixel = 66, (22, 22)
    fields = {multiple: {a[3:7] for a in at(pixel, size, multiple=multiple)} for multiple in (1, 4)}
    assert len(fields[4]) == 1
    assert len(fields[1]) > 1


def test_a_pixel_outside_the_image_is_refused():
    with pytest.raises(ValueError, match=r"got \(60, 0\)"):
        at((60, 0))


def test_the_figure_names_every_patch_that_answers_and_its_mirrored_share():
    image = np.random.default_rng(0).uniform(0, 1, (60, 64))
    figure = tile_figure(image, LEVELS, (0, 0))
    assert "1 of 9" in figure.axes[0].get_title()
    words = [t.get_text() for t in figure.legends[0].get_texts()]
    (answer,) = answers((0, 0), unpadded_geometry(60, LEVELS), unpadded_geometry(64, LEVELS), LEVELS)
    assert words[0] == f"patch 1: {answer.mirrored:.0%} mirrored"


def test_the_mirrored_image_is_drawn_where_it_lies():
    """The image begins at 0; what is mirrored lies before it and behind it."""
    image = np.random.default_rng(0).uniform(0, 1, (60, 64))
    g = [unpadded_geometry(n, LEVELS) for n in image.shape]
    around, middle = tile_figure(image, LEVELS, (9, 9)).axes[1].images
    left, right, bottom, top = around.get_extent()
    assert (left, right) == (-g[1].before - 0.5, 64 + g[1].after - 0.5)
    assert (top, bottom) == (-g[0].before - 0.5, 60 + g[0].after - 0.5)
    inner = around.get_array()[g[0].before : g[0].before + 60, g[1].before : g[1].before + 64]
    assert np.array_equal(inner, middle.get_array())


def test_the_picture_follows_both_sliders():
    box = tile_microscope(np.random.default_rng(0).uniform(0, 1, (60, 60)), LEVELS, (3, 4))
    (row, column), picture = box.children[0].children, box.children[1]
    assert (row.value, column.value, row.max) == (3, 4, 59)
    seen = {picture.value}
    row.value = 40
    seen.add(picture.value)
    column.value = 30
    seen.add(picture.value)
    assert len(seen) == 3
