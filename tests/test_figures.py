"""Figures show what they say: the right slice, the right way round, and every step with what it changed."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import affine_of
from matplotlib.figure import Figure

from femur_lib.figures import contact_sheet, png, save, scan_steps
from femur_lib.volumes import Volume, from_stack


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def titled(figure: Figure) -> dict:
    """A figure's axes by their titles."""
    return {ax.get_title(): ax for ax in figure.axes if ax.get_title()}


def shown(ax) -> np.ndarray:
    """The picture that an axes shows."""
    return np.asarray(ax.images[0].get_array())


def made_up_steps() -> dict[str, np.ndarray]:
    """Each step after "received" adds twice as much as the one before; the slab profile nothing."""
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


def test_png_is_one_and_closes_its_figure():
    figure, _ = plt.subplots(figsize=(2, 1))
    assert plt.imread(io.BytesIO(png(figure, dpi=50))).shape[:2] == (50, 100)
    assert not plt.get_fignums()


def test_save_writes_the_same_picture(tmp_path):
    pictures = [plt.subplots(figsize=(2, 1))[0] for _ in range(2)]
    assert save(pictures[0], tmp_path / "a.png").read_bytes() == png(pictures[1])


def test_steps_are_numbered_in_order_and_share_one_grey_window():
    steps = made_up_steps()
    axes = titled(scan_steps(steps))
    for number, (name, image) in enumerate(steps.items(), start=1):
        assert np.array_equal(shown(axes[f"{number}  {name}"]), image)
    windows = {axes[f"{n}  {name}"].images[0].get_clim() for n, name in enumerate(steps, start=1) if name != "anatomy"}
    assert len(windows) == 1


def test_a_step_s_change_is_against_the_step_before_and_received_against_fat_and_water():
    axes = titled(scan_steps(made_up_steps()))
    changes = {title: shown(ax).mean() for title, ax in axes.items() if "less" in title}
    assert changes == pytest.approx(
        {"6 less 4": 0.1, "7 less 6": 0.1, "8 less 7": 0, "9 less 8": 0.2, "10 less 9": 0.4, "11 less 10": 0.8}
    )
    assert "no change" in axes["8 less 7"].texts[0].get_text()
    assert not axes["9 less 8"].texts


def test_brighter_is_red():
    image = titled(scan_steps(made_up_steps()))["9 less 8"].images[0]
    red, _, blue, _ = image.to_rgba(image.get_array())[0, 0]
    assert red > blue


def test_a_scan_without_fold_over_is_taken_apart_too():
    steps = made_up_steps()
    del steps["fold-over"]
    axes = titled(scan_steps(steps))
    assert shown(axes["9 less 8"]).mean() == pytest.approx(0.6)
    assert "11  noise" not in axes


def test_the_anatomy_s_legend_has_the_picture_s_colours():
    figure = scan_steps(made_up_steps())
    picture = titled(figure)["1  anatomy"].images[0]
    (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
    for label, patch in enumerate(legend.get_patches()):
        assert picture.cmap(picture.norm(label)) == pytest.approx(patch.get_facecolor())


def scan_with_mark(axes: str, k: int) -> tuple[Volume, Volume]:
    """A scan stored with some axes: in slice ``k`` a mask, and a bright spot at the patient's right."""
    like = Volume(np.zeros((6, 8, 5)), affine_of("ILP"))
    image, mask = np.zeros((2, 6, 8, 5), np.float32)
    image[2, 1, k], mask[1:4, 1:4, k], mask[0, 0, 0] = 100, 1, 1
    turned = Volume(image, like.affine), Volume(mask > 0, like.affine)
    stored = Volume(np.zeros((8, 5, 6)), affine_of(axes))
    return tuple(from_stack(v.array, like=stored) for v in turned)  # type: ignore[return-value]


def test_a_contact_sheet_takes_any_number_one_at_a_time_and_shows_the_most_femur():
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
    contours = [len(ax.collections) for ax in figure.axes[:2]]
    assert contours == [1, 2]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["manual", "predicted"]
