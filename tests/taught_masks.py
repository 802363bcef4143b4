"""Comparisons of what notebooks 05 to 09 write out with what the library does; see taught.py."""

from functools import cache
from itertools import product
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
from conftest import AXIS_ORDERS, affine_of
from nibabel.processing import resample_from_to
from sklearn.neighbors import KNeighborsClassifier
from statsmodels.stats.multitest import multipletests
from taught import checks, rng
from test_morphometry import rods, turned

from femur_lib import morphometry
from femur_lib.architecture import Architecture
from femur_lib.inference import one_mirrored_pass, pass_size
from femur_lib.masks import largest_component
from femur_lib.phantom.cohort import stacks
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
from femur_lib.scores.curves import ProbabilityHistogram
from femur_lib.scores.overlap import overlap
from femur_lib.scores.statistics import compare, interval, verdict
from femur_lib.scores.surfaces import distances
from femur_lib.volumes import Volume, to_stack


def masks(shape: tuple[int, ...], shares=(0.02, 0.3, 0.7, 1)):
    """Pairs of random masks, sparse to full, each with some voxel."""
    for share, other in product(shares, repeat=2):
        pair = [rng().random((2, *shape))[k] < s for k, s in enumerate((share, other))]
        for mask in pair:
            mask[-1, 0, -1] = True
        yield pair


def histograms():
    """Of few and of many voxels, of a network that errs."""
    for size in (6, 100, 5000):
        truth, histogram = np.arange(size) % 3 == 0, ProbabilityHistogram()
        histogram.add(truth, np.clip(0.4 + 0.2 * truth + rng().normal(0, 0.2, size), 0, 1).astype(np.float32))
        yield histogram


@cache
def hips() -> list:
    """Balls on two rods: both sides, straight and leaning, as stacks, with the library's head and shaft."""
    made = []
    for side, lean in product((1, -1), (0.0, 8.0)):
        mask = to_stack(rods(lean, side))
        mask.array.flags.writeable = False
        head = morphometry.fit_head(mask)
        made.append((mask, head, morphometry.shaft_axis(mask, head)))
    return made


def with_lesser_trochanter(mask: Volume, head: morphometry.Sphere) -> Volume:
    """The same stack with a bump on the head's side of the shaft, 40 mm below the head, and behind."""
    bump = np.zeros_like(mask.array)
    bump[95:112, 45:60, 14:22] = True  # of a right hip
    of_left_hip = head.centre_mm[0] > 0  # the scan's middle lies between head and shaft
    return Volume(mask.array | (bump[:, ::-1] if of_left_hip else bump), mask.affine)


def sides():
    """Balls on two rods and synthetic hips, in many orders of axes, with their side. The femur is lateral of its head.

    ``rods`` lays it towards the patient's right (RAS) for 1, so that is a right hip.
    """
    masks = [(rods(8, 1), "R"), (rods(8, -1), "L")]
    for person in (draw_person(0, number) for number in range(4)):
        image, mask, _ = stacks(person, scan(person, 32, 8))
        masks.append((Volume(mask, image.affine), person.side))
    assert {side for _, side in masks[2:]} == {"L", "R"}
    for (mask, side), axes in product(masks, AXIS_ORDERS[::7]):
        yield turned(mask, axes), side


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1, 1))))


# 05: scores and curves.


@checks("nb05-counts-code", "tp / (tp + fp), tp / (tp + fn)", "tp / (tp + fn), tp / (tp + fp)")
def _(taught):
    nothing, everything = np.zeros((3, 2, 1), bool), np.ones((3, 2, 1), bool)
    pairs = [*masks((7, 5, 3)), *masks((1, 1, 1)), *product((nothing, everything), repeat=2)]
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN here and there
        for truth, predicted in pairs:
            theirs = list(overlap(truth, predicted).values())
            assert np.allclose(taught().four_scores(truth, predicted), theirs, equal_nan=True)


@checks("nb05-nearest", "1 - recall", "recall")
def _(taught):
    for histogram in histograms():
        found = taught(histograms={"a": histogram}, main="a")
        assert found.best == histogram.best_threshold()


@checks("nb05-surfaces-code", "- 1) * spacing_mm", "- 1) * spacing_mm[::-1]")
def _(taught):
    for spacing_mm in ((1.0, 1.0, 1.0), (0.234, 0.234, 1.5), (3.0, 0.5, 1.25)):
        for truth, predicted in [*masks((7, 5, 4)), *masks((1, 6, 2)), *masks((1, 1, 1))]:
            theirs = distances(truth, predicted, spacing_mm)
            assert np.allclose(taught().asd_msd(truth, predicted, spacing_mm), (theirs["asd_mm"], theirs["msd_mm"]))


@checks("nb05-component-code", "np.ones((3, 3, 3))", "None")
def _(taught):
    for shape, share in product([(12, 9, 7), (1, 20, 1), (30, 30, 3)], (0.03, 0.1, 0.2)):  # many ties
        mask = rng().random(shape) < share
        mask[-1, 0, -1] = True
        assert np.array_equal(taught().keep_largest(mask)[0], largest_component(mask))


# 06: intervals, average precision, tests.


@checks("nb06-bootstrap", "[0.025, 0.975]", "[0.05, 0.95]")
def _(taught):
    for values in (rng().normal(0.9, 0.02, 30), rng().exponential(size=8), np.array([0.7, 0.9])):
        found, standard_error = taught(values=values), values.std() / np.sqrt(len(values))
        if len(values) > 2:
            assert np.allclose((found.low, found.high), interval(values), atol=0.15 * standard_error)
        else:
            assert (found.low, found.high) == interval(values)  # the values themselves


@checks("nb06-ap-hand", "prepend=0", "append=1")
def _(taught):
    for histogram in histograms():
        assert np.isclose(taught(curves={}, one=histogram).by_hand, histogram.average_precision())


@checks("nb06-wilcoxon-hand", "difference.round(12)", "difference")
def _(taught):
    for n in (1, 2, 6, 11):  # each takes statsmodels 0.3 s, however many pairs
        varied, tied = rng().normal(size=(n, 2)), rng().integers(90, 97, (n, 2)) / 100
        table = pd.DataFrame(np.hstack([varied, tied, tied[:, :1]]), columns=list("abcde"))  # c and e are the same
        for row in compare(table).itertuples():
            assert np.isclose(taught().signed_rank_p((table[row.first] - table[row.second]).to_numpy()), row.p)


@checks("nb06-holm-hand", "np.maximum.accumulate", "np.asarray")
def _(taught):
    few, tied = rng().uniform(0, 0.3, 5), rng().integers(0, 4, 66) * 0.01 / 4
    for p in ([0.02], few, tied, rng().uniform(0, 0.01, 66), np.full(5, 0.3)):  # each takes statsmodels 0.3 s
        assert np.allclose(taught().holm(p), multipletests(p, method="holm")[1])
    compared = compare(pd.DataFrame(rng().normal(size=(9, 4)), columns=list("abcd")).add([0, 0, 1, 2], axis=1))
    assert np.allclose(taught().holm(compared.p), compared.p_holm)


@checks("nb06-verdict", "in_folds.min() > 0", "True")
def _(taught):
    fold_of = pd.Series({f"s{i}": i % 4 for i in range(16)})
    scan = np.arange(16)
    for shift, spread, by_fold, seed in product((-0.02, 0.0, 0.001, 0.02), (0.001, 0.03), (0.0, 0.04), (np.nan, 0.01)):
        difference = pd.Series(shift + spread * np.sin(scan) - by_fold * (scan % 4 == 2), index=fold_of.index)
        found, expected = taught(fold_of=fold_of).verdict(difference, seed), verdict(difference, fold_of, seed)
        assert found["verdict"] == expected["verdict"]
        assert {k: str(v) for k, v in found.items()} == {k: str(v) for k, v in expected.items()}


# 07: measures of a femur.


@checks("nb07-head-sphere", "2 * points", "points")
def _(taught):
    for radius, centre in product((0.5, 22.0), ([0, 0, 0], [-80, 3, 200])):
        away = rng().normal(size=(60, 3))
        points = np.array(centre) + radius * away / np.linalg.norm(away, axis=1, keepdims=True)
        mine = taught().sphere_through(points)
        theirs = morphometry._fit_sphere(points, morphometry.Sphere(np.array(centre) + 0.2, radius + 0.1, 0))
        assert np.allclose(mine[0], theirs.centre_mm, atol=1e-3)
        assert np.isclose(mine[1], theirs.radius_mm, atol=1e-3)


@checks("nb07-head-by-hand", "[0.5, 0, 0]", "[3.5, 0, 0]")
def _(taught):
    for mask, head, _ in hips():
        centre, radius = taught(after=("nb07-head-sphere",)).head_by_hand(mask)
        assert np.linalg.norm(centre - head.centre_mm) < 0.5
        assert abs(radius - head.radius_mm) < 0.5


@checks("nb07-shaft-by-hand", "depth.max() - 1", "0")
def _(taught):
    for smooth, head, _ in hips():
        for mask in (smooth, with_lesser_trochanter(smooth, head)):
            shaft, (point, up) = morphometry.shaft_axis(mask, head), taught().shaft_by_hand(mask, head)
            assert degrees(up, shaft.up) < 2
            assert shaft.distance_mm(point) < 0.5


@checks("nb07-neck-by-hand", "key=len", "key=lambda slab: -len(slab)")
def _(taught):
    for mask, head, shaft in hips():
        found, neck = taught(), morphometry.neck_direction(mask, head, shaft)
        assert degrees(found.neck_by_hand(mask, head, shaft), neck) < 3
        angle = morphometry.neck_shaft_angle_degrees(neck, shaft)
        assert np.isclose(found.degrees_between(neck, shaft.up), angle)


@checks("nb07-axes-numbers", "head.centre_mm - shaft.point_mm", "head.centre_mm")
def _(taught):
    for mask, head, shaft in hips():
        neck = morphometry.neck_direction(mask, head, shaft)
        found = taught(after=("nb07-neck-by-hand",), neck=neck, shaft=shaft, head=head)
        assert np.isclose(found.angle, morphometry.neck_shaft_angle_degrees(neck, shaft))
        assert np.isclose(found.offset_mm, shaft.distance_mm(head.centre_mm))


@checks("nb07-volume-code", "abs(np.linalg.det(mask.affine[:3, :3]))", "np.prod(np.diag(mask.affine)[:3])")
def _(taught):
    for axes, (array, _) in product(AXIS_ORDERS[::7], masks((3, 4, 5))):
        mask = Volume(np.pad(array, 1), affine_of(axes, (0.5, 1.5, 3.0), tilt=(8, -20, 31)))
        assert np.isclose(taught(mask=mask, name="").cm3, morphometry.volume_cm3(mask))


@checks("nb07-bone-by-hand", "y >= x @ plane", "y <= x @ plane")
def _(taught):
    for mask, image, _ in scans():
        assert np.allclose(taught().marrow_by_hand(image, mask), morphometry.marrow_brightness(image, mask), rtol=1e-3)


@checks("nb07-bone-check", "HEAD_CORE * head.radius_mm", "0.3 * head.radius_mm")
def _(taught):
    for mask, image, head in scans():
        found = taught(after=("nb07-bone-by-hand",), mask=mask, image=image, head=head, name="")
        assert np.isclose(found.core.mean(), morphometry.bone_fraction(image, mask, head), atol=1e-4)


def scans():
    """A ball on two rods in uneven light, with bone that is denser towards the head's middle."""
    for mask, head, _ in hips()[:2]:
        places = nib.affines.apply_affine(mask.affine, np.moveaxis(np.indices(mask.array.shape), 0, -1))
        bone = 0.3 * np.exp(-(np.linalg.norm(places - head.centre_mm, axis=-1) ** 2) / 200)
        light = 100 * np.exp(places @ [0.004, 0.002, -0.003]) * rng().normal(1, 0.03, bone.shape)
        yield mask, Volume(light * (1 - bone), mask.affine), head


# 08 and 09: grids, sides, copies, margins.


@checks(
    "nb08-mend-grid-code", "np.linalg.inv(coarse.affine) @ scan.affine", "scan.affine @ np.linalg.inv(coarse.affine)"
)
def _(taught):
    for axes, spacing in product(AXIS_ORDERS[::9], ((1.1, 0.9, 2.3), (0.7, 3.1, 1.0))):
        scan = nib.Nifti1Image(np.zeros((9, 8, 7), np.uint8), affine_of("LPS", (1, 1, 2), (3, 4, 5), (7, 1, 2)))
        coarse = nib.Nifti1Image((rng().random((6, 7, 5)) < 0.4).astype(np.uint8), affine_of(axes, spacing, (3, 4, 5)))
        by_hand = taught(scan=scan, coarse=coarse).by_hand
        assert np.array_equal(by_hand, np.asarray(resample_from_to(coarse, scan, order=0, mode="nearest").dataobj))


@checks("nb08-side-code", "head > shaft", "head < shaft")
def _(taught):
    for mask, side in sides():
        assert taught().side_by_shape(mask) == side


@checks("nb09-mirrored-check", '"R" if', '"L" if')
def _(taught):
    for mask, side in sides():
        assert taught().side_of(mask) == side


@checks("nb09-slices-copier", "argmin", "argmax")
def _(taught):
    for count in (1, 4):
        known, new = (
            [(rng().normal(size=(3, 5, n)) + shift, rng().integers(0, 2, (3, 5, n))) for n in range(2, 2 + count)]
            for shift in (0, 0.1)
        )
        found = taught()
        (images, drawn), (seen, true) = found.flat(known), found.flat(new)
        assert np.array_equal(seen[0], new[0][0][..., 0])
        nearest = KNeighborsClassifier(1).fit(images.reshape(len(images), -1), range(len(images)))
        copied = drawn[nearest.predict(seen.reshape(len(seen), -1))]
        dice, guess = found.copier((images, drawn), (seen, true))
        assert np.array_equal(guess, copied)
        assert dice == overlap(true > 0, copied > 0)["dice"]


@checks("nb09-zeros-hip", "s - n - f", "s - n - f - 1")
def _(taught):
    for rows, columns, levels in ((60, 77, 2), (41, 40, 1), (131, 150, 3)):
        architecture, given = Architecture(2, 1, levels, padded=False), []
        images, size = rng().normal(size=(2, rows, columns, 3)), pass_size(architecture, rows, columns)
        larger = SimpleNamespace(predict_on_batch=lambda x, given=given: given.append(x) or x)
        one_mirrored_pass(larger, images, levels)
        found = taught(hip=None, chosen=None, x=images, y=None, size=size, architecture=architecture)
        assert np.array_equal(np.pad(images, found.margins, mode="reflect"), given[0])
