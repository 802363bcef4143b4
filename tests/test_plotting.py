"""Figures show the right slice, the right way round, and the masks that belong to it."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import affine_of

from femur_lib.plotting import contact_sheet, overlay_page, png, save, slices_with_mask
from femur_lib.volumes import Volume, from_stack


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def shown(ax) -> np.ndarray:
    """The picture that an axes shows."""
    return np.asarray(ax.images[0].get_array())


def scan_with_mark(axes: str, k: int) -> tuple[Volume, Volume]:
    """A scan stored with some axes: in slice ``k`` a mask, and a bright spot at the patient's right."""
    image, mask = np.zeros((2, 6, 8, 5), np.float32)
    image[2, 1, k], mask[1:4, 1:4, k], mask[0, 0, 0] = 100, 1, 1
    stored = Volume(np.zeros((8, 5, 6)), affine_of(axes))
    return from_stack(image, stored), from_stack(mask > 0, stored)


def test_a_picture_is_a_png_and_its_figure_is_closed(tmp_path):
    one, other = (plt.subplots(figsize=(2, 1))[0] for _ in range(2))
    picture = png(one, dpi=50)
    assert plt.imread(io.BytesIO(picture)).shape[:2] == (50, 100)
    assert save(other, tmp_path / "a.png", dpi=50).read_bytes() == picture
    assert not plt.get_fignums()


def test_slices_are_spread_over_those_that_the_mask_touches():
    mask = np.zeros((4, 4, 20), bool)
    mask[1, 1, [6, 14]] = True
    assert slices_with_mask(mask, 3) == [8, 10, 12]
    assert slices_with_mask(np.zeros_like(mask), 1) == [10]


def test_an_overlay_shows_the_mask_in_coronal_slices_and_in_a_sagittal_cut_with_the_front_on_the_left():
    image, mask = scan_with_mark("RAS", 3)
    figure = overlay_page(image, mask, mask, title="sub-1")
    assert [ax.get_title() for ax in figure.axes][2:] == ["coronal, slice 2", "sagittal, column 1; front on the left"]
    assert np.argwhere(shown(figure.axes[3]) == 100).tolist() == [[2, 3]]
    assert len(figure.axes[3].collections) == 2
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["manual", "predicted"]
    assert not overlay_page(image, None, None).legends


def test_a_contact_sheet_takes_scans_one_at_a_time_and_shows_the_slice_with_most_femur():
    scans = ((f"sub-{k}, R, control", *scan_with_mark("RAS", k)) for k in (1, 3, 4))
    figure = contact_sheet(scans, columns=2)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["sub-1, R, control", "sub-3, R, control", "sub-4, R, control", ""]
    for ax in figure.axes[:3]:
        assert np.argwhere(shown(ax) == 100).tolist() == [[2, 1]]  # the patient's right is on the left


def test_a_contact_sheet_pairs_predictions_with_their_scans():
    scans = [(name, *scan_with_mark("RAS", 2)) for name in "ab"]
    empty = Volume(np.zeros_like(scans[0][2].array), scans[0][2].affine)
    figure = contact_sheet(scans, predicted=[empty, scans[1][2]])
    assert [len(ax.collections) for ax in figure.axes[:2]] == [1, 2]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["manual", "predicted"]
