"""Synthetic hips: right geometry, right brightness, and the same again for the same seed."""

import numpy as np
import pytest

from femur_lib.cohort import read_subject
from femur_lib.errors import DataError
from femur_lib.masks import largest_component
from femur_lib.phantom import anatomy
from femur_lib.phantom.cohort import make_cohort
from femur_lib.phantom.scanner import scan, spacing_of
from femur_lib.phantom.tissue import TISSUES, Tissue, flash, signal

SHAPE = (96, 96, 30)


def test_flash_is_the_ernst_equation_at_its_maximum():
    """At the Ernst angle, cos a = E1, the steady state is sqrt((1 - E1) / (1 + E1))."""
    e1 = np.exp(-31 / 365)
    got = flash(Tissue(1.0, 365, 1e9), float(np.rad2deg(np.arccos(e1))))
    assert got == pytest.approx(np.sqrt((1 - e1) / (1 + e1)), rel=1e-6)


def test_tissues_are_as_bright_as_the_design_s_table_says():
    assert signal("muscle") == pytest.approx(0.33, abs=0.01)
    assert signal("dense trabecular marrow") == pytest.approx(0.81, abs=0.01)
    assert signal("cortex") == pytest.approx(0, abs=0.01)
    assert set(TISSUES) >= {"muscle", "cortex"}


def test_the_head_is_a_sphere_of_the_drawn_radius():
    hip = anatomy.Hip(head_radius=22.0)
    p = anatomy.points((120, 120, 90), (1, 1, 1), hip)
    distance = anatomy.femur(p, hip)
    away = p[0] < -5  # medial of the head's centre there is nothing but head
    radius = np.sqrt(sum(a**2 for a in p))[away & (np.abs(distance) < 0.3)]
    assert radius.size > 500
    assert abs(radius.mean() - 22.0) < 0.1


def test_masks_are_one_piece_inside_the_bone_and_clear_of_the_pelvis():
    """Volumes as in the design notes: 83 +- 8 cm3 on average, 60 to 110 each."""
    volumes = []
    for seed in range(12):
        hip = anatomy.draw_hip(np.random.default_rng(seed), fracture=bool(seed % 2))
        p = anatomy.points(SHAPE, spacing_of(SHAPE), hip)
        mask = anatomy.mask(p, hip)
        volumes.append(mask.sum() * np.prod(spacing_of(SHAPE)) / 1000)
        assert np.array_equal(mask, largest_component(mask))
        assert not (mask & (anatomy.femur(p, hip) > 0)).any()
        assert not (mask & (anatomy.pelvis(p, hip) < 0)).any()
    assert min(volumes) > 60
    assert max(volumes) < 110
    assert 75 < np.mean(volumes) < 91


def test_one_hip_has_one_volume_at_every_size():
    hip = anatomy.Hip()
    volumes = []
    for shape in ((96, 96, 30), (192, 192, 60)):
        mask = anatomy.mask(anatomy.points(shape, spacing_of(shape), hip), hip)
        volumes.append(mask.sum() * np.prod(spacing_of(shape)))
    assert volumes[0] == pytest.approx(volumes[1], rel=0.01)


def test_left_is_the_mirror_of_right():
    right, right_mask = scan(anatomy.Hip(), SHAPE, "R", np.random.default_rng(0))
    left, left_mask = scan(anatomy.Hip(), SHAPE, "L", np.random.default_rng(0))
    np.testing.assert_array_equal(right.array, left.array[:, ::-1])
    np.testing.assert_array_equal(right_mask, left_mask[:, ::-1])
    # The shaft of a right hip lies to the patient's right of its head, so at a lower column than the head.
    rows = np.flatnonzero(right_mask.any((1, 2)))
    head, shaft = (np.nonzero(right_mask[r])[0].mean() for r in (rows[5], rows[-5]))
    assert shaft < head


def test_the_same_seed_makes_the_same_hips_however_many(tmp_path):
    few = make_cohort(tmp_path / "few", 2, seed=5)
    more = make_cohort(tmp_path / "more", 3, seed=5)
    other = make_cohort(tmp_path / "other", 2, seed=6)
    for a, b in zip(few.subjects, more.subjects, strict=False):
        np.testing.assert_array_equal(read_subject(a)[0].array, read_subject(b)[0].array)
    assert not np.array_equal(read_subject(few.subjects[0])[0].array, read_subject(other.subjects[0])[0].array)


def test_thirty_six_in_eighty_six_have_a_fracture():
    fracture = [(k + 1) * 36 // 86 > k * 36 // 86 for k in range(86)]
    assert sum(fracture) == 36


def test_a_cohort_is_never_written_over(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(DataError, match="already"):
        make_cohort(tmp_path / "mine", 1)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"
