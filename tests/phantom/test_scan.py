"""Synthetic hips, images: how bright tissues are, what is painted, and what the scanner does to it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from femur_lib.phantom import femur, surroundings
from femur_lib.phantom.body import Body
from femur_lib.phantom.field import Field
from femur_lib.phantom.painting import paint
from femur_lib.phantom.parameters import Person, Protocol
from femur_lib.phantom.scanner import (
    GREY_LEVELS,
    acquire,
    coil_sensitivity,
    fold,
    k_space,
    magnitude,
    scan,
    slab_profile,
    steps_of,
    taken_apart,
)
from femur_lib.phantom.shapes import turned
from femur_lib.phantom.subject import draw_person
from femur_lib.phantom.tissue import TISSUES, Tissue, bone_attenuation, flash, signals

# A scanner without faults: what it delivers is what was painted.
PERFECT: dict[str, Any] = {"snr": np.inf, "coil_bias": 0.0, "chemical_shift": 0.0, "slab_profile": 0.0, "gibbs": False}
PERFECT |= {"ghost": 0.0, "fold_over": 0.0, "gain": 1.0}


def woman(k: int = 1, hip: dict | None = None, **protocol: Any) -> Person:
    person = draw_person(4, k)
    return replace(person, hip=replace(person.hip, **hip or {}), protocol=replace(person.protocol, **protocol))


def head_slice(person: Person, field: Field) -> int:
    """The slice through the middle of the head."""
    return int(np.argmin(np.abs(field.axes_mm(field.pixels)[0] - person.protocol.place[1])))


def painted(person: Person, field: Field, k: int) -> np.ndarray:
    canvas, _ = paint(Body(person, field), k)
    return canvas.fat + canvas.water


# --- tissues


def test_flash_is_the_ernst_equation_at_its_maximum():
    """At the Ernst angle, cos a = E1, the steady state is sqrt((1 - E1) / (1 + E1))."""
    e1 = np.exp(-31 / 365)
    got = flash(Tissue(1.0, 365, 1e9), float(np.rad2deg(np.arccos(e1))))
    assert got == pytest.approx(np.sqrt((1 - e1) / (1 + e1)), rel=1e-6)


def test_tissues_are_as_bright_as_the_specification_s_table():
    rel = dict(zip(TISSUES, (1, 0.81, 0.61, 1.02, 0.33, 0.34, 0.21, 0.37, 0.31, 0.06, 0.03, 0), strict=True))
    assert signals() == pytest.approx(rel, abs=0.006)


def test_more_bone_is_darker_and_marrow_with_few_trabeculae_is_near_one():
    fraction = np.array([0.05, 0.17, 0.26])
    even = bone_attenuation(fraction, fraction)
    assert even[0] == pytest.approx(1, abs=0.06)
    assert even[1] == pytest.approx(0.83 * np.exp(-4.92e-3 * (29 + 217 * 0.17) + 4.92 / 25))
    assert (np.diff(even) < 0).all()
    assert (bone_attenuation(fraction, fraction + 0.1) < even).all()


def test_muscle_fat_and_cartilage_are_as_bright_as_the_equation_says():
    """Medians, away from borders and where the fat's slow cloud is near 0; a wide joint has room for such a place."""
    hip = {"marbling": 0.0, "joint_space": 8.0, "soft_tissue": 45.0}
    person = woman(1, hip, **PERFECT | {"gain": 20.0, "flip_degrees": 27.0, "muscle_t1_ms": 1100.0})
    field = Field(192, 30)
    body, k = Body(person, field), head_slice(person, field)
    canvas, _ = paint(body, k)
    image = acquire(canvas.fat, canvas.water, field, person.protocol, 1.0, np.random.default_rng(0))
    x, y, z = field.points(192, person.protocol.place)
    p = turned((x[0], y[k], z[0]), femur.hip_frame(person.protocol))
    bone = np.minimum(*(field.enlarged(d[k]) for d in (body.femur_voxels, body.pelvis_voxels)))
    muscle, gap, cloud = (field.enlarged(d[k]) for d in (body.muscle, body.muscle_gap, body.cloud))
    skin, fascia = surroundings.skin_and_fascia(p, person.hip)
    other = np.minimum(surroundings.vessels(p), surroundings.bladder(p))
    into_joint = np.sqrt(x[0] ** 2 + y[k] ** 2 + z[0] ** 2) - person.hip.head_diameter / 2
    where = {
        (0.80, 1100, 25): (muscle < 3) & (gap > 3) & (fascia < -4) & (bone > 8) & (other > 3),
        (0.95, 371, 30): (skin < -4) & (fascia > 5) & (np.abs(cloud) < 0.25),
        (0.75, 1240, 22): (into_joint > 0.8) & (into_joint < 7.2) & (bone > 1),
    }
    a = np.deg2rad(27)
    marrow = flash(TISSUES["fatty marrow"])  # 1 in the painted image
    for (density, t1, t2), chosen in where.items():
        e1 = np.exp(-31 / t1)
        expected = density * np.sin(a) * (1 - e1) / (1 - np.cos(a) * e1) * np.exp(-4.92 / t2)
        assert chosen.sum() > 30
        assert np.median(image[chosen]) * marrow == pytest.approx(expected, rel=0.02)


# --- painting


def test_less_bone_makes_the_head_brighter():
    person, field = woman(), Field(96, 30)
    k = head_slice(person, field)
    x, _, z = field.points(96, person.protocol.place)
    head = (x[0] ** 2 + z[0] ** 2) < 14**2
    weaker = replace(person, hip=replace(person.hip, bone_fraction=0.86 * person.hip.bone_fraction))
    strong, weak = (painted(p, field, k)[head].mean() for p in (person, weaker))
    assert 1.02 * strong < weak < 1.2 * strong


@pytest.mark.parametrize(("hip", "limit"), [({"cyst_radius": 8.0}, 0.6), ({"metal_radius": 8.0}, 0.1)])
def test_a_cyst_and_metal_darken_marrow_where_they_are_and_leave_the_labels_alone(hip, limit):
    person, field = woman(hip={"cyst_radius": 0.0, "red_marrow": 0.0}), Field(96, 30)
    other = replace(person, hip=replace(person.hip, **hip))
    body = Body(person, field)
    centre = body.lesion[0] if "cyst_radius" in hip else femur.landmarks(person.hip).neck_base
    x, y, z = femur.in_scanner(centre, person.hip, person.protocol)
    k, row, column = (int(np.argmin(np.abs(a - b))) for a, b in zip(field.axes_mm(96), (y, z, x), strict=True))
    (before, labels), (after, same) = paint(body, k), paint(Body(other, field), k)
    assert (after.fat + after.water)[row, column] < limit < (before.fat + before.water)[row, column]
    np.testing.assert_array_equal(labels.exact, same.exact)


def test_pelvic_marrow_can_be_made_unlike_the_femur_s():
    field, k = Field(96, 30), 15
    like, unlike = (woman(hip={"pelvic_marrow_similarity": s}) for s in (1.0, 0.0))
    body = Body(like, field)
    femoral, pelvic = body.marrow_voxels[k] < -1, body.pelvic_marrow_voxels[k] < -1
    a, b = painted(like, field, k), painted(unlike, field, k)
    assert b[pelvic].mean() < 0.9 * a[pelvic].mean()
    np.testing.assert_array_equal(a[femoral], b[femoral])


def test_soft_tissue_painted_at_half_resolution_is_the_same_tissue():
    person = woman()
    coarse, fine = (painted(person, Field(n, 30), 20) for n in (256, 512))
    halved = fine.reshape(256, 2, 256, 2).mean((1, 3))
    assert np.abs(halved - coarse).mean() < 0.015
    assert halved.mean() == pytest.approx(coarse.mean(), rel=0.01)


# --- the scanner


@pytest.fixture(scope="module")
def noisy_and_clean() -> tuple[np.ndarray, np.ndarray]:
    """A thin woman, with air round her; noise is 1 / 18 of fatty marrow."""
    thin = woman(hip={"soft_tissue": 3.0}, **PERFECT | {"place": (-34.0, 0.0, 24.0), "gain": 20.0})
    grey = GREY_LEVELS * 20.0
    clean = scan(thin, 128, 12).image / grey
    return scan(replace(thin, protocol=replace(thin.protocol, snr=18.0)), 128, 12).image / grey, clean


def test_air_is_rician(noisy_and_clean):
    noisy, clean = noisy_and_clean
    air = noisy[clean < 1e-3]
    assert air.size > 10_000
    assert air.mean() * 18 == pytest.approx(np.sqrt(np.pi / 2), abs=0.01)  # 1.253
    assert air.mean() / air.std() == pytest.approx(1.913, abs=0.02)


def test_noise_in_tissue_is_one_over_the_signal_to_noise_ratio(noisy_and_clean):
    noisy, clean = noisy_and_clean
    bright = clean > 0.3
    assert (noisy - clean)[bright].std() * 18 == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(("pixels", "strength", "rows"), [(512, 1, 2.095), (256, 1, 1.047), (512, 0, 0), (256, 0, 0)])
def test_fat_is_displaced_downwards_against_water(pixels, strength, rows):
    protocol = Protocol(**PERFECT | {"chemical_shift": float(strength)})
    blob, nothing = np.zeros((2, pixels, pixels), np.float32)
    blob[100:120, 60:80] = 1

    def middle(fat: np.ndarray, water: np.ndarray) -> float:
        image = acquire(fat, water, Field(pixels, 60), protocol, 1.0, np.random.default_rng(0))
        return float(np.average(np.arange(pixels), weights=image.sum(1)))

    assert middle(blob, nothing) - middle(nothing, blob) == pytest.approx(rows, abs=0.002)


def test_coils_receive_one_on_average_and_more_near_the_skin_than_deep():
    field = Field(96, 30)
    coils = coil_sensitivity(field, 1.0)
    assert coils.mean() == pytest.approx(1, abs=1e-4)
    assert coils[0].mean() > coils[15].mean()
    assert coils[15, :, -1].mean() > coils[15, :, 0].mean()  # the body's middle is far from every coil
    np.testing.assert_allclose(coil_sensitivity(Field(96, 30, beyond=True), 1.0)[:, :, 30:-30], coils, rtol=1e-5)
    np.testing.assert_array_equal(coil_sensitivity(field, 0.0), 1)


def test_only_the_slab_s_ends_fall_off():
    slab = slab_profile(Field(96, 60))
    np.testing.assert_allclose(slab[6:54], 1)
    np.testing.assert_allclose(slab, slab[::-1])
    assert (np.diff(slab[:6]) >= 0).all()
    assert slab[0] == pytest.approx(0.3, abs=0.05)
    np.testing.assert_array_equal(slab_profile(Field(96, 60), 0.0), 1)


def test_k_space_without_shutter_and_ghost_is_the_identity():
    image = np.random.default_rng(0).random((24, 30), np.float32)
    np.testing.assert_allclose(k_space(image, shutter=False), image, atol=1e-6)


def test_the_shutter_rings_beside_an_edge_and_keeps_the_mean():
    step = np.zeros((64, 64), np.float32)
    step[:, 20:40] = 1
    rung = k_space(step)
    assert rung.mean() == pytest.approx(step.mean(), rel=1e-5)
    assert rung.max() > 1.01
    beside, far = np.abs(rung - step)[:, 40:44], np.abs(rung - step)[:, 54:58]
    assert beside.max() > far.max() > 0


def test_a_ghost_is_a_faint_copy_further_along_the_row():
    image = np.zeros((64, 64), np.float32)
    image[30:34, 10:14] = 1
    ghost = k_space(image, ghost=0.2, shutter=False) - image
    assert 0.05 < np.abs(ghost[30:34]).max() < 0.2
    assert np.abs(ghost[:28]).max() < 1e-5


def test_what_lies_beyond_one_side_appears_on_the_other_and_fades():
    wide = np.zeros((4, 10 + 6 + 6), np.float32)
    wide[0, 5], wide[1, 0], wide[2, 18] = 1, 1, 1  # next to the field, at the far end, and beyond the other side
    folded = fold(wide, 6, 0.5)
    assert folded.shape == (4, 10)
    assert folded[0].argmax() == 9
    assert folded[0, 9] == pytest.approx(0.5, abs=0.02)
    assert folded[1].max() < 0.02
    assert folded[2].argmax() == 2
    assert not folded[3].any()


def test_no_noise_leaves_the_magnitude():
    image = np.array([[-2, 0], [3, 4]], np.float32)
    np.testing.assert_allclose(magnitude(image, np.inf, np.random.default_rng(0)), np.abs(image))


def test_fold_over_changes_the_image_and_neither_labels_nor_mask():
    plain, folded = (scan(woman(fold_over=s), 96, 12) for s in (0.0, 0.6))
    np.testing.assert_array_equal(plain.labels, folded.labels)
    np.testing.assert_array_equal(plain.rater, folded.rater)
    edge = np.r_[0:20, 76:96]
    assert (folded.image - plain.image)[:, :, edge].mean() > 5


# --- a scan taken apart


STEPS = ["anatomy", "signal of fat", "signal of water", "fat + water", "coils", "received", "chemical shift"]
STEPS += ["slab profile", "fold-over", "k-space", "noise"]


@pytest.mark.parametrize("fold_over", [0.5, 0.0])
def test_the_last_step_is_the_scan_itself(fold_over):
    person = woman(fold_over=fold_over, ghost=0.1, snr=np.inf, gain=20.0)
    steps = taken_apart(person, 2, 96, 10)
    assert list(steps) == [name for name in STEPS if fold_over or name != "fold-over"]
    whole = scan(person, 96, 10)
    np.testing.assert_allclose(steps["noise"] * GREY_LEVELS * 20, whole.image[2], atol=0.6)
    np.testing.assert_array_equal(steps["anatomy"], whole.labels[2])


def test_each_step_does_what_it_is_named_for_and_no_more():
    field = Field(96, 10)
    done = paint(Body(woman(), field), 0)
    images = steps_of(done, field, 0, Protocol(ghost=0.1), (1, 2))
    for before, after in zip(STEPS[5:8], ("chemical shift", "slab profile", "k-space"), strict=True):
        assert np.abs(images[after] - images[before]).max() > 0.01
    np.testing.assert_allclose(images["received"], images["fat + water"] * images["coils"], atol=1e-5)
    assert (images["noise"] - images["k-space"]).std() == pytest.approx(1 / 18, rel=0.2)
    off = steps_of(done, field, 0, Protocol(**PERFECT), (1, 2))
    np.testing.assert_allclose(off["noise"], off["fat + water"], atol=1e-6)
