"""Measures of a femur: a ball on two rods with known measures, and a dozen synthetic hips with known truth."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import AXIS_ORDERS, affine_of, draw
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import read_subject
from femur_lib.lab import morphometry
from femur_lib.lab.morphometry import MEASURES, measure
from femur_lib.phantom.cohort import exact_labels_path, make_cohort
from femur_lib.phantom.tissue import bone_attenuation
from femur_lib.volumes import Volume

SPACING_MM = (1.0, 1.0, 2.0)
HEAD_MM, ANGLE, OFFSET_MM = 42.0, 130.0, 40.0


def rods(lean_degrees: float = 0.0, side: int = 1) -> Volume:
    """A ball of ``HEAD_MM``, a neck, a shaft and a ball where they meet, tilted by ``lean_degrees`` from the front."""
    shape = (130, 110, 30)
    affine = affine_of("ILP", SPACING_MM)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    places = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)) - [-side * 20, 0, 30]
    lean = np.deg2rad(lean_degrees)
    lateral, up = side * np.array([np.cos(lean), 0, np.sin(lean)]), np.array([-np.sin(lean), 0, np.cos(lean)])
    angle = np.deg2rad(ANGLE)
    neck = np.sin(angle) * lateral + np.cos(angle) * up
    length = OFFSET_MM / np.sin(angle)

    def rod(start: np.ndarray, along: np.ndarray, reach: float, radius: float) -> np.ndarray:
        t = (places - start) @ along
        aside = np.linalg.norm(places - start - t[..., None] * along, axis=-1)
        return (aside < radius) & (t > 0) & (t < reach)

    ball = np.linalg.norm(places, axis=-1) < HEAD_MM / 2
    femur = ball | rod(np.zeros(3), neck, length, 12.0) | rod(length * neck + 12 * up, -up, 70.0, 14.0)
    femur |= np.linalg.norm(places - length * neck, axis=-1) < 17
    return Volume(femur, affine)


def turned(volume: Volume, axes: str) -> Volume:
    """The same volume with its array axes in another order."""
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(tuple(axes)))
    return Volume(apply_orientation(volume.array, turn), volume.affine @ inv_ornt_aff(turn, volume.array.shape))


def trimmed(volume: Volume, **box: slice) -> Volume:
    """A part of a stack, in its place: ``rows``, ``columns`` or ``slices``."""
    part = tuple(box.get(name, slice(0, None)) for name in ("rows", "columns", "slices"))
    affine = volume.affine.copy()
    affine[:3, 3] = nib.affines.apply_affine(affine, [s.start or 0 for s in part])
    return Volume(volume.array[part], affine)


# --- a ball on two rods


@pytest.mark.parametrize("lean", [0.0, 8.0])
@pytest.mark.parametrize("side", [1, -1])
def test_a_ball_on_two_rods_has_the_measures_it_was_built_with(lean, side):
    found = measure(rods(lean, side))
    assert found["head_diameter_mm"] == pytest.approx(HEAD_MM, abs=0.3)
    assert found["neck_shaft_angle_degrees"] == pytest.approx(ANGLE, abs=1.5)
    assert found["offset_mm"] == pytest.approx(OFFSET_MM, abs=1)
    assert found["cut_by"] == ""


@pytest.mark.parametrize("axes", AXIS_ORDERS[::7])
def test_measures_do_not_depend_on_the_order_of_the_axes(axes):
    mask = rods(5)
    expected, found = measure(mask), measure(turned(mask, axes))
    for name in MEASURES[:4]:
        assert found[name] == pytest.approx(expected[name], abs=0.3)


def test_measures_of_an_oblique_scan_are_those_of_the_same_bone_turned():
    mask = rods()
    turn = affine_of("RAS", tilt=(4, -6, 20))
    expected, found = measure(mask), measure(Volume(mask.array, turn @ mask.affine))
    assert found["head_diameter_mm"] == pytest.approx(expected["head_diameter_mm"], abs=0.05)
    assert found["neck_shaft_angle_degrees"] == pytest.approx(expected["neck_shaft_angle_degrees"], abs=1.5)
    assert found["offset_mm"] == pytest.approx(expected["offset_mm"], abs=1.5)
    assert found["volume_cm3"] == pytest.approx(expected["volume_cm3"])


def test_a_stray_piece_is_no_part_of_the_femur():
    mask = rods()
    stray = mask.array.copy()
    stray[:4, -4:, :4] = True
    assert measure(Volume(stray, mask.affine)) == pytest.approx(measure(mask), nan_ok=True)


def test_a_lesser_trochanter_does_not_drag_the_shaft_s_axis_along():
    mask = rods()
    head = morphometry.fit_head(mask)
    bump = mask.array.copy()
    bump[95:112, 45:60, 14:22] = True  # medial and behind, 40 mm below the head
    plain, bumpy = (morphometry.shaft_axis(Volume(array, mask.affine), head) for array in (mask.array, bump))
    assert (bump & ~mask.array).sum() * 2 > 500  # mm3
    assert np.rad2deg(np.arccos(plain.up @ bumpy.up)) < 2


# --- what cannot be measured


@pytest.mark.parametrize(
    ("box", "face"),
    [
        ({"rows": slice(30, None)}, "superior"),
        ({"slices": slice(10, None)}, "anterior"),
        ({"slices": slice(0, 20)}, "posterior"),
        ({"columns": slice(30, None)}, "right"),
    ],
)
def test_a_femur_cut_by_the_image_has_a_reason_and_no_volume(box, face):
    cut = trimmed(rods(), **box)
    found = measure(cut)
    assert found["cut_by"] == face
    assert np.isnan(found["volume_cm3"])
    with pytest.raises(DataError, match=f"cut by the image's {face} border"):
        morphometry.volume_cm3(cut)


def test_a_shaft_cut_at_its_lower_end_is_expected():
    cut = trimmed(rods(), rows=slice(0, 105))
    assert morphometry.cut_by(cut) == ("inferior",)
    found = measure(cut)
    assert found["cut_by"] == ""
    assert found["volume_cm3"] > 0
    assert found["neck_shaft_angle_degrees"] == pytest.approx(ANGLE, abs=2)


def test_a_cut_head_keeps_its_diameter():
    found = measure(trimmed(rods(), slices=slice(10, None)))
    assert found["head_diameter_mm"] == pytest.approx(HEAD_MM, abs=0.4)


def test_an_empty_mask_has_no_measures():
    empty = Volume(np.zeros((20, 20, 8), bool), affine_of("ILP"))
    found = measure(empty, Volume(np.ones((20, 20, 8), np.float32), empty.affine))
    assert np.isnan([found[name] for name in MEASURES]).all()
    for ask in (morphometry.volume_cm3, morphometry.fit_head):
        with pytest.raises(DataError, match="The mask is empty"):
            ask(empty)


def test_a_box_has_no_head():
    box = np.zeros((100, 60, 30), bool)
    box[10:90, 20:40, 10:20] = True
    box = Volume(box, affine_of("ILP", SPACING_MM))
    with pytest.raises(DataError, match="no round head"):
        morphometry.fit_head(box)
    found = measure(box)
    assert found["volume_cm3"] > 0
    assert np.isnan(found["head_diameter_mm"])


def test_a_head_without_a_shaft_has_a_diameter_and_no_angle():
    found = measure(trimmed(rods(), rows=slice(0, 62)))
    assert found["head_diameter_mm"] == pytest.approx(HEAD_MM, abs=0.4)
    assert np.isnan(found["neck_shaft_angle_degrees"])


def test_border_points_lie_between_voxels_of_the_finer_axes():
    mask = Volume(draw(".... .##. ....")[:, :, :1], affine_of("RAS", (1, 2, 5)))
    points = {tuple(p) for p in morphometry.border_points(mask).tolist()}
    assert points == {(0.5, 2, 0), (1.5, 2, 0), (0.5, 4, 0), (1.5, 4, 0), (1, 1, 0), (1, 5, 0)}


# --- bone


def bony(mask: Volume, darker: float, coil: float = 0.0, gain: float = 100.0) -> Volume:
    """An image of marrow, by a coil that falls off sideways, with a head that is darker."""
    places = nib.affines.apply_affine(mask.affine, np.moveaxis(np.indices(mask.array.shape), 0, -1))
    head = morphometry.fit_head(mask)
    grey = np.where(np.linalg.norm(places - head.centre_mm, axis=-1) < head.radius_mm, 1 - darker, 1.0)
    return Volume((gain * grey * np.exp(coil * places[..., 0] / 50)).astype(np.float32), mask.affine)


@pytest.mark.parametrize(("coil", "gain"), [(0.0, 100.0), (0.0, 7.0), (0.5, 100.0)])
def test_bone_is_how_much_darker_the_head_is_than_marrow_whatever_gain_and_coil(coil, gain):
    mask = rods()
    for darker in (0.0, 0.2, 0.4):
        found = measure(mask, bony(mask, darker, coil, gain))
        assert found["bone_fraction"] == pytest.approx(darker, abs=0.05)


def test_bone_of_an_image_on_another_grid_is_refused():
    mask = rods()
    other = Volume(np.ones((10, 10, 10), np.float32), mask.affine)
    with pytest.raises(DataError, match="Resample"):
        morphometry.bone_fraction(other, mask, morphometry.fit_head(mask))


# --- synthetic hips


@pytest.fixture(scope="module")
def dozen(tmp_path_factory) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Truth of twelve women, and measures of their exact masks and of an expert's."""
    cohort = make_cohort(tmp_path_factory.mktemp("dozen") / "cohort", 12)
    truth = pd.read_csv(cohort.root / "derivatives" / "truth" / "truth.tsv", sep="\t").set_index("participant_id")
    exact, expert = {}, {}
    for subject in cohort.subjects:
        image, mask = read_subject(subject)
        labels = np.asarray(nib.load(exact_labels_path(cohort.root, subject.id)).dataobj)
        exact[subject.id] = measure(Volume(labels == 1, mask.affine), image)
        expert[subject.id] = measure(mask, image)
    return truth, pd.DataFrame(exact).T, pd.DataFrame(expert).T


def test_synthetic_heads_have_the_diameter_drawn_less_their_cortex(dozen):
    truth, exact, expert = dozen
    within = truth.head_diameter - 2 * np.maximum(0.5, 0.9 * truth.cortex)
    assert (exact.head_diameter_mm - within).abs().max() <= 0.25
    assert (expert.head_diameter_mm - within).abs().max() <= 1


def test_synthetic_angles_and_offsets_are_those_drawn_as_far_as_a_short_shaft_tells(dozen):
    truth, exact, expert = dozen
    for found, mean, largest in ((exact, 1.5, 6), (expert, 1.5, 9)):
        for off in (
            found.neck_shaft_angle_degrees - truth.neck_shaft_angle,
            found.offset_mm - truth.offset,
        ):
            assert abs(off.mean()) <= mean
            assert off.abs().max() <= largest


def test_synthetic_volumes_are_those_counted_when_drawn(dozen):
    truth, exact, expert = dozen
    np.testing.assert_allclose(exact.volume_cm3.astype(float), truth.mask_cm3)
    np.testing.assert_allclose(expert.volume_cm3.astype(float), truth.rater_cm3)
    assert set(exact.cut_by) == {""}


def test_apparent_bone_follows_the_bone_drawn(dozen):
    truth, exact, expert = dozen
    drawn = truth.bone_fraction * (0.12 + 0.05 * truth.ward_fraction)
    perfect = 1 - bone_attenuation(drawn, drawn)
    for found in (exact.bone_fraction.astype(float), expert.bone_fraction.astype(float)):
        assert np.corrcoef(found, perfect)[0, 1] > 0.8
        assert abs((found - perfect).mean()) <= 0.06
