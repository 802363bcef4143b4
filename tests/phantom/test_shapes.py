"""Synthetic hips, geometry: solid shapes, the field that carries them to pixels, texture, the femur's landmarks."""

from dataclasses import replace

import numpy as np
import pytest

from femur_lib.phantom import femur, shapes, texture
from femur_lib.phantom.field import FIELD_OF_VIEW_MM, Field, exact, interpolation, voxel_widths
from femur_lib.phantom.parameters import Hip, Protocol


def points(*where: shapes.Vector) -> shapes.Points:
    x, y, z = np.array(where, np.float32).T
    return x, y, z


# --- shapes


def test_a_distance_is_negative_inside_and_in_millimetres():
    p = points((1, 2, 3), (1, 2, 13), (1, 9, 3))
    np.testing.assert_allclose(shapes.sphere(p, (1, 2, 3), 4), [-4, 6, 3])
    np.testing.assert_allclose(shapes.capsule(p, (1, 2, -5), (1, 2, 5), 2, 2), [-2, 6, 5], atol=1e-6)


def test_a_rod_grows_evenly_from_one_end_to_the_other():
    got = shapes.capsule(points((10, 0, 0), (10, 0, 5), (10, 0, 10)), (0, 0, 0), (0, 0, 10), 2, 4)
    np.testing.assert_allclose(got, [8, 7, 6], atol=1e-6)


def test_an_ellipsoid_s_distance_is_true_near_its_surface():
    axes = list(np.eye(3)[[1, 2, 0]])  # the radii belong to these axes in their order: y, z, x
    got = shapes.ellipsoid(points((9.2, 0, 0), (0, 4.9, 0), (0, 0, 7)), (0, 0, 0), axes, (5, 7, 9))
    np.testing.assert_allclose(got, [0.2, -0.1, 0], atol=0.01)


def test_joined_shapes_have_a_fillet_where_they_meet_and_are_untouched_elsewhere():
    a, b = np.array([1.0, -2.0, 3.0]), np.array([1.0, 9.0, -4.0])
    np.testing.assert_allclose(shapes.smooth_union(a, b, 2), [0.5, -2, -4])


def test_what_is_taken_away_is_outside_and_what_is_common_is_inside_both():
    a, b = np.array([-5.0, -5.0, 5.0]), np.array([-9.0, 9.0, -9.0])
    np.testing.assert_allclose(shapes.without(a, b, 1), [9, -5, 9])
    np.testing.assert_allclose(shapes.common(a, b, 1), [-5, 9, 5])


def test_half_of_a_voxel_on_a_surface_is_inside():
    np.testing.assert_allclose(shapes.occupancy(np.array([-1.0, -0.5, 0, 0.5, 1.0]), 2), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(shapes.band(np.array([-2.0, -1.0, 0, 1.0]), 2), [0, 0.5, 1, 0.5])


def test_shapes_stay_in_single_precision():
    """A NumPy float64 scalar among the parameters would double memory and time without a word."""
    p, hip, turn = points((1, 2, 3)), Hip(), np.eye(3)
    for distance in (
        shapes.sphere(p, np.ones(3), 2.0),
        shapes.capsule(p, np.zeros(3), np.ones(3), 2.0, 3.0),
        shapes.ellipsoid(p, np.zeros(3), list(turn), (1, 2, 3)),
        femur.surface(shapes.turned(p, turn), hip),
        femur.cortex_mm(p, hip),
    ):
        assert distance.dtype == np.float32


# --- the field


def test_a_field_is_centred_and_as_wide_as_the_paper_s():
    y, z, x = Field(128, 40).axes_mm(128)
    for axis, mm in zip((z, x, y), FIELD_OF_VIEW_MM, strict=True):
        assert axis[0] == pytest.approx(-axis[-1])
        assert abs(axis[-1] - axis[0]) + abs(axis[1] - axis[0]) == pytest.approx(mm)
    assert y[0] > 0 > x[0]  # front to back, medial to lateral
    assert z[0] > 0  # top to bottom


def test_what_lies_beyond_continues_the_columns():
    narrow, wide = Field(96, 30), Field(96, 30, beyond=True)
    x, margin = wide.axes_mm(96)[2], wide.margin(96)
    assert margin == 30
    np.testing.assert_allclose(x[margin:-margin], narrow.axes_mm(96)[2])
    np.testing.assert_allclose(np.diff(x), narrow.pixel_mm)


@pytest.mark.parametrize("margin", [0, 30])
def test_interpolation_reproduces_a_line_to_the_very_edges(margin):
    fine, coarse = Field(192, 30, margin > 0).axes_mm(192)[2], Field(192, 30, margin > 0).axes_mm(96)[2]
    np.testing.assert_allclose(interpolation(192, 96, 2 * margin, margin) @ coarse, fine, atol=1e-4)


def test_interpolation_is_off_by_at_most_a_64th_of_a_cell_where_sizes_do_not_divide():
    field = Field(200, 30)
    off = interpolation(200, 96) @ field.axes_mm(96)[2] - field.axes_mm(200)[2]
    assert np.abs(off).max() <= FIELD_OF_VIEW_MM[0] / 96 / 64 + 1e-4


@pytest.mark.parametrize("field", [Field(200, 1), Field(512, 1), Field(512, 1, beyond=True)])
def test_carrying_a_distance_to_the_pixels_rounds_nothing(field):
    """Then no order of additions, and so no machine, can move a mask's border."""
    columns = field.coarse + 2 * field.margin(field.coarse)
    distance = exact(np.random.default_rng(0).uniform(-70, 70, (field.coarse, columns)))
    rows, across = field.weights(field.pixels)
    in_double = rows.astype(float) @ distance.astype(float) @ across.astype(float)
    np.testing.assert_array_equal(field.enlarged(distance), in_double)
    np.testing.assert_array_equal(rows @ (distance @ across), in_double)


def test_exact_distances_are_nearly_those_given():
    distance = np.array([-70, -1.003, 0.5, 70])
    np.testing.assert_allclose(exact(distance), [-60, -1.003, 0.5, 60], atol=1 / 256)


def test_a_surface_along_the_slices_fades_over_a_slice_and_one_across_them_over_a_pixel():
    field = Field(192, 60)
    y, z, _ = field.axes_mm(field.coarse)
    flat = np.broadcast_to(y[:, None, None], (60, 96, 96))
    upright = np.broadcast_to(z[None, :, None], (60, 96, 96))
    np.testing.assert_allclose(voxel_widths(flat, field), 1.5 + 0.05, rtol=1e-5)
    np.testing.assert_allclose(voxel_widths(upright, field), 0.624 + 0.05, rtol=1e-5)


# --- texture


def test_splines_add_up_to_one_everywhere():
    at = np.linspace(-45, 45, 61)
    np.testing.assert_allclose(texture.spline_matrix(at, -45, 45, 7).sum(1), 1, rtol=1e-6)


def test_smooth_noise_is_of_unit_size_and_the_same_field_however_finely_it_is_sampled():
    room, knots, coarse, fine = (45, 60, 60), (5, 6, 6), np.arange(-40.0, 41, 4), np.arange(-40.0, 41, 2)
    some, more = (texture.smooth_field(np.random.default_rng(3), (a,) * 3, room, knots) for a in (coarse, fine))
    np.testing.assert_allclose(more[::2, ::2, ::2], some, atol=1e-5)
    assert more.std() == pytest.approx(1, abs=0.1)
    assert abs(more.mean()) < 0.1


def test_strands_are_of_unit_size_at_the_paper_s_resolution_longer_than_wide_and_fade_in_larger_voxels():
    tile = texture.strands(0.234, 1.5)
    assert tile.std() == pytest.approx(1, abs=0.01)
    wide, long = ((np.roll(tile, n, axis) * tile).mean() for n, axis in ((10, 1), (4, 2)))  # 1.2 mm each
    assert long > 0.5 > wide
    assert texture.strands(1.25, 3.0).std() < 0.5


def test_the_tile_of_strands_is_read_in_millimetres_and_repeats_without_end():
    tile = texture.strands(0.234, 1.5)
    across, along = np.array([3.5, 85.5, 400.5]) * 0.117, np.array([7.5, 200.5, 0.5]) * 0.3
    there = tile[1, [3, 85, 400], [7, 200, 0]]
    np.testing.assert_array_equal(texture.at(tile, across, along, 2.0), there)
    np.testing.assert_array_equal(texture.at(tile, across + 512 * 0.117, along + 256 * 0.3, 2 + 32 * 1.5), there)


# --- the femur as it is drawn


def test_landmarks_lie_where_the_parameters_say():
    hip = Hip(neck_shaft_angle=131.0, offset=38.0, anteversion=17.0)
    mark = femur.landmarks(hip)
    assert np.hypot(*mark.neck_base[:2]) == pytest.approx(38.0)  # the shaft runs along z through the neck's base
    assert np.rad2deg(np.arccos(mark.neck[2])) == pytest.approx(131.0)
    assert np.rad2deg(np.arctan2(-mark.neck_base[1], mark.neck_base[0])) == pytest.approx(17.0)
    assert np.linalg.norm(mark.greater_trochanter) == pytest.approx(0.92 * 43.2)
    assert np.linalg.norm(mark.lesser_trochanter - 5 * mark.lateral) == pytest.approx(1.16 * 43.2)


def test_the_shaft_s_top_leans_outwards_by_the_abduction():
    t = np.deg2rad(9)
    np.testing.assert_allclose(femur.femur_frame(Hip(abduction=9.0)).T @ femur.UP, [np.sin(t), 0, np.cos(t)], atol=1e-9)


def test_the_head_s_centre_is_where_the_protocol_puts_it():
    protocol = Protocol(place=(-11.0, 3.0, 20.0), turn=(5.0, -8.0, 3.0))
    np.testing.assert_allclose(femur.in_scanner(np.zeros(3), Hip(), protocol), protocol.place)


def test_cortex_is_thin_on_the_head_and_above_the_neck_thicker_below_it_and_thickest_in_the_shaft():
    hip = Hip()
    mark = femur.landmarks(hip)
    over = np.cross(mark.neck, mark.anterior)
    middle, top = 0.5 * mark.neck_base, np.array([0, 0, 45])
    where = points((-21.6, 0, 0), middle + 15.5 * over, middle - 15.5 * over, mark.neck_base - top)
    head, above, below, shaft = femur.cortex_mm(where, hip)
    np.testing.assert_allclose([head, above, shaft], [0.9, 0.8, 5.4], atol=0.05)
    assert 2 * above < below < shaft
    thin = femur.cortex_mm(where, replace(hip, cortex=0.9, superior_neck_cortex=0.8))
    np.testing.assert_allclose(thin / femur.cortex_mm(where, hip), [0.9, 0.72, 0.9, 0.9], atol=0.01)


def test_the_femur_is_moved_no_further_than_the_field_of_view_asks():
    hip, inside = Hip(), Protocol()
    assert femur.recentred(hip, inside) == inside.place
    too_high = femur.recentred(hip, replace(inside, place=(-17.0, 0.0, 50.0)))
    assert too_high[:2] == inside.place[:2]
    assert femur.ROOM_MM[2][1] - 23.6 < too_high[2] < 50  # the head, with 1 mm over it, or the trochanter at the top
