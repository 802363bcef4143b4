"""Synthetic hips, measured: a dozen women's femurs and masks, as a reader would measure them on the images."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from femur_lib.metrics.overlap import overlap
from femur_lib.phantom import femur, shapes
from femur_lib.phantom.body import Body
from femur_lib.phantom.field import FIELD_OF_VIEW_MM, Field
from femur_lib.phantom.painting import Canvas, Labels, paint_bones
from femur_lib.phantom.parameters import DIFFICULTIES, Person
from femur_lib.phantom.subject import draw_person

PIXELS, SLICES = 96, 60


def labels_of(body: Body, slices: range) -> Labels:
    """Labels of some slices: bones alone, on an empty canvas, since soft tissue has no label."""
    pixels = body.field.pixels
    painted = [paint_bones(body, k, Canvas.blank(pixels, pixels)) for k in slices]
    return Labels(np.stack([p.exact for p in painted]), np.stack([p.rater for p in painted]))


Measured = tuple[Person, Body, np.ndarray]


@pytest.fixture(scope="module")
def dozen() -> list[Measured]:
    people = [draw_person(seed, 7 * seed) for seed in range(12)]
    bodies = [Body(p, Field(PIXELS, SLICES)) for p in people]
    return [(p, b, labels_of(b, range(SLICES)).exact) for p, b in zip(people, bodies, strict=True)]


def in_plane_border(inside: np.ndarray, field: Field) -> np.ndarray:
    """Points (x, y, z in mm) midway between neighbours in a slice of which one is inside."""
    y, z, x = field.axes_mm(field.pixels)
    k, i, j = np.nonzero(inside[:, 1:] != inside[:, :-1])
    rows = np.stack([x[j], y[k], (z[i] + z[i + 1]) / 2], -1)
    k, i, j = np.nonzero(inside[:, :, 1:] != inside[:, :, :-1])
    return np.concatenate([rows, np.stack([(x[j] + x[j + 1]) / 2, y[k], z[i]], -1)])


def fitted_head(labels: np.ndarray, person: Person, field: Field) -> tuple[np.ndarray, float]:
    """Centre and diameter (mm) of the sphere through the head's border medial of its centre, fovea left out."""
    border = in_plane_border((labels == 1) | (labels == 2), field) - person.protocol.place
    neck = person.protocol.place - femur.in_scanner(femur.landmarks(person.hip).neck, person.hip, person.protocol)
    near = border[(np.abs(np.linalg.norm(border, axis=1) - 21.6) < 6) & (border @ neck > 2)]
    centre, radius = np.zeros(3), 21.6
    for _ in range(5):
        a = np.c_[2 * near, np.ones(len(near))]
        *centre, rest = np.linalg.lstsq(a, (near**2).sum(1))[0]
        radius = np.sqrt(rest + np.dot(centre, centre))
        near = near[np.abs(np.linalg.norm(near - centre, axis=1) - radius) < 0.8]
    return centre + np.array(person.protocol.place), 2 * float(radius)


def shaft_axis(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """A point and the upward direction of the line through the centroids of rows 16 mm below the lesser trochanter."""
    person, (y, z, x) = body.person, body.field.axes_mm(body.field.coarse)
    lesser = femur.in_scanner(femur.landmarks(person.hip).lesser_trochanter, person.hip, person.protocol)
    centroids = []
    for row in np.flatnonzero(z < lesser[2] - 16):
        share = shapes.occupancy(body.femur[:, row], 1.25)
        centroids.append([np.average(x, weights=share.sum(0)), np.average(y, weights=share.sum(1)), z[row]])
    middle = np.mean(centroids, 0)
    up = np.linalg.svd(centroids - middle)[2][0]
    return middle, up * np.sign(up[2])


def neck_axis(body: Body, head: np.ndarray, shaft: np.ndarray) -> np.ndarray:
    """Direction from the head's centre to the centroid of the neck's smallest section, sought step by step."""
    y, z, x = body.field.axes_mm(body.field.coarse)
    side, up = np.meshgrid(np.arange(-26, 27), np.arange(-26, 27), indexing="ij")
    neck = np.array([1, 0, -0.7]) * (shaft[0] - head[0])
    for _ in range(4):
        neck = neck / np.linalg.norm(neck)
        across = np.cross(neck, (0, 1, 0)) / np.linalg.norm(np.cross(neck, (0, 1, 0)))
        sections = []
        for t in range(12, 44, 2):
            p = head + t * neck + side[..., None] * across + up[..., None] * np.cross(neck, across)
            starts, steps = (y[0], z[0], x[0]), (y[1] - y[0], z[1] - z[0], x[1] - x[0])
            index = [(p[..., a] - s) / d for a, s, d in zip((1, 2, 0), starts, steps, strict=True)]
            share = shapes.occupancy(ndimage.map_coordinates(body.femur, index, order=1, mode="nearest"), 1.0)
            share *= ndimage.label(share)[0] == ndimage.label(share)[0][26, 26]
            sections.append((share.sum(), np.average(p.reshape(-1, 3), 0, share.ravel())))
        neck = min(sections, key=lambda s: s[0])[1] - head
    return neck / np.linalg.norm(neck)


def test_heads_have_the_diameter_drawn(dozen):
    errors = [fitted_head(labels, p, body.field)[1] - p.hip.head_diameter for p, body, labels in dozen]
    assert np.abs(errors).max() <= 0.25


def test_necks_and_shafts_have_the_angle_and_offset_drawn(dozen):
    angles, offsets = [], []
    for person, body, labels in dozen:
        head, _ = fitted_head(labels, person, body.field)
        shaft, up = shaft_axis(body)
        angle = np.rad2deg(np.arccos(neck_axis(body, head, shaft) @ up))
        angles.append(angle - person.hip.neck_shaft_angle)
        offsets.append(np.linalg.norm(np.cross(head - shaft, up)) - person.hip.offset)
    assert abs(np.mean(angles)) <= 1
    assert np.abs(angles).max() <= 4
    assert abs(np.mean(offsets)) <= 1
    assert np.abs(offsets).max() <= 3.5


def test_masks_are_as_large_as_women_s(dozen):
    volumes = [np.sum(labels == 1) * np.prod(FIELD_OF_VIEW_MM) / labels.size / 1000 for *_, labels in dozen]
    assert min(volumes) > 60
    assert max(volumes) < 110
    assert 75 < np.mean(volumes) < 91  # specification, section 5: 83 +- 8


def test_masks_are_in_one_piece(dozen):
    assert [ndimage.label(labels == 1, np.ones((3, 3, 3)))[1] for *_, labels in dozen] == [1] * 12


def test_an_island_of_marrow_at_the_cut_belongs_to_neither_mask():
    """In these women the cut parts the lesser trochanter's marrow from the shaft's."""
    exact, expert = (Body(draw_person(*who), Field(PIXELS, 30)) for who in ((3, 82), (0, 12)))
    z = exact.field.axes_mm(PIXELS)[1][None, :, None]
    for border, above in ((exact.marrow_voxels, z > exact.cut_mm), (expert.rater_voxels, z > expert.rater_cut_mm)):
        assert ndimage.label((border < 0) & above, np.ones((3, 3, 3)))[1] == 1


def test_masks_lie_in_the_central_48_slices(dozen):
    inside = [np.sum(labels[6:54] == 1) / np.sum(labels == 1) for *_, labels in dozen]
    assert min(inside) >= 0.99


def test_masks_lie_inside_the_bone_and_end_at_the_cut(dozen):
    for _, body, labels in dozen:
        mask, z = labels == 1, body.field.axes_mm(PIXELS)[1]
        assert (body.femur_voxels[mask] < 0).all()
        lowest = z[mask.any((0, 2))].min()
        assert body.cut_mm < lowest <= body.cut_mm + body.field.pixel_mm


def test_the_pelvis_keeps_clear_of_the_femur(dozen):
    """Labels cannot overlap, since one is painted over the other: the shapes themselves must not."""
    for _, body, _ in dozen:
        assert (body.pelvis_voxels[body.femur <= 0.9] > 0).all()
        assert (body.pelvis_voxels < 0).sum() > 1000


def test_a_worn_joint_still_leaves_a_millimetre_between_the_bones():
    person = draw_person(0, 0)
    body = Body(replace(person, hip=replace(person.hip, joint_space=0.2)), Field(PIXELS, 30))
    assert (body.pelvis_voxels[body.femur <= 0.9] > 0).all()


def test_cortex_surrounds_the_mask_in_every_slice():
    """At 384 pixels, where the thinnest cortex is wider than a pixel."""
    body = Body(draw_person(1, 5), Field(384, SLICES))
    labels = labels_of(body, range(8, 52, 5)).exact
    above = body.field.axes_mm(384)[1][None, :, None] > body.cut_mm
    grown = ndimage.binary_dilation(labels == 1, ndimage.generate_binary_structure(2, 1)[None])
    assert set(np.unique(labels[grown & above])) == {1, 2}
    assert (labels[grown & above] == 2).sum() > 1000


def test_volumes_agree_between_512_and_256_pixels():
    person, slices, volumes = draw_person(2, 3), range(1, SLICES, 4), []
    for pixels in (512, 256):
        labels = labels_of(Body(person, Field(pixels, SLICES)), slices).exact
        volumes.append([np.sum(labels == name) / labels.size for name in (1, 2, 3)])
    np.testing.assert_allclose(volumes[0], volumes[1], rtol=0.005)


@pytest.mark.parametrize(("seed", "k"), [(0, 16), (0, 38), (1, 10), (1, 42)])
def test_even_women_who_lie_askew_have_their_mask_in_the_field_of_view(seed, k):
    body = Body(draw_person(seed, k, DIFFICULTIES["hard"]), Field(64, SLICES, beyond=True))
    _, z, x = body.field.axes_mm(64)
    mask = (body.marrow_voxels < 0) & (z[None, :, None] > body.cut_mm)
    assert mask[6:54].sum() >= 0.99 * mask.sum() > 0
    assert not mask[:, :, np.abs(x) > FIELD_OF_VIEW_MM[1] / 2].any()
    assert not mask[:, [0, -1]].any()


# --- the expert


def test_experts_agree_with_the_exact_mask_as_far_as_their_border_error_allows():
    """The design notes' table, for two women; its 0.962 at 0.5 mm is out of order, so it is 0.968 here."""
    table = {0.25: 0.981, 0.4: 0.973, 0.5: 0.968, 0.6: 0.964, 0.8: 0.954, 1.0: 0.942}
    field, dice = Field(96, 60), []
    for k in (1, 2):
        for border in table:
            body = Body(replace(draw_person(5, k), rater_border_mm=border, rater_cut_mm=0.0), field)
            labels = labels_of(body, range(7, 53, 3))
            dice.append(overlap(labels.exact == 1, labels.rater)["dice"])
    np.testing.assert_allclose(np.mean(np.reshape(dice, (2, 6)), 0), list(table.values()), atol=0.01)


def test_an_expert_without_error_draws_the_exact_mask_and_one_who_cuts_lower_draws_more():
    field = Field(96, 60)
    masks = []
    for cut in (0.0, 4.0):
        body = Body(replace(draw_person(5, 1), rater_border_mm=0.0, rater_cut_mm=cut), field)
        labels = labels_of(body, range(20, 40))
        masks.append((labels.exact == 1, labels.rater))
    np.testing.assert_array_equal(*masks[0])
    rows = [np.flatnonzero(rater.any((0, 2)))[-1] for _, rater in masks]
    assert (rows[1] - rows[0]) * FIELD_OF_VIEW_MM[0] / 96 == pytest.approx(4, abs=1.25)
    assert not (masks[1][0] & ~masks[1][1]).any()
