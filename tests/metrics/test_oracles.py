"""Our scores beside those of MedPy, MONAI and DeepMind's surface-distance (make oracles). Where they agree:

- Overlap: MedPy's scores are ours.
- MedPy 0.5 takes the same surface (face neighbours, its default), and its hd, hd95 and assd are our MSD, HD95 and ASD.
  Its asd is the mean of one direction. The assd of older versions was the mean of both directions' means, which is
  another number where one surface has more voxels than the other; the paper divides by N_S + N_G, as we do.
- MONAI takes the same surface. Its average (symmetric), Hausdorff distance and surface Dice are ours, in float32. With
  a percentile its Hausdorff distance is the larger of both directions' percentiles; ours, like MedPy's, is that of all.
- surface-distance puts its surface half a voxel further out, at the corners between voxels, and weighs each of its
  elements by area. Its percentile is the larger of both directions', like MONAI's. For a mask moved by one voxel its
  MSD is ours. Otherwise scores differ by a fraction of a voxel: its ASD is lower by 0.3 voxels where voxels are cubes,
  and its surface Dice is higher.
"""

import warnings

import numpy as np
import pytest
from scipy import ndimage

from femur_lib.metrics.overlap import overlap
from femur_lib.metrics.surface_distance import TOLERANCE_MM, distances, surface, surface_distances

SPACING_MM = (0.6, 0.9, 2.5)
pytestmark = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's, of its own calls


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two rough blobs with holes and specks; one reaches the border, and they differ in size."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 30, 26, 14)), (0, 1.5, 1.5, 1))
    where = np.indices((30, 26, 14))
    centres = rng.uniform((12, 10, 4), (16, 14, 9), (2, 3))
    radii = (9.0, 11.5)
    depth = [1 - np.hypot.reduce(where - c[:, None, None, None]) / r for c, r in zip(centres, radii, strict=True)]
    specks = rng.random((2, 30, 26, 14)) < 0.002
    truth, predicted = ((d + 2 * n > 0) | s for d, n, s in zip(depth, noise, specks, strict=True))
    return truth, predicted


def femurs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A head on a shaft that the last slice cuts off, and a prediction with a wavy border that misses some of it."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((64, 56, 20)) * np.reshape(SPACING_MM, (3, 1, 1, 1))
    head = np.sqrt((x - 14) ** 2 + (y - 30) ** 2 + (z - 22) ** 2) - 10
    shaft = np.maximum(np.hypot((y - 18) / 1.2, z - 24) - 7, 12 - x)
    depth = -np.minimum(head, shaft)
    wave = ndimage.gaussian_filter(rng.normal(size=depth.shape), (4, 4, 1.5))
    return depth > 0, depth + 1.5 * wave / wave.std() > 0.8


PAIRS = [pytest.param(*make(seed), id=f"{make.__name__}{seed}") for make in (blobs, femurs) for seed in range(3)]
ON_PAIRS = pytest.mark.parametrize(("truth", "predicted"), PAIRS)


@ON_PAIRS
def test_the_pairs_are_worth_comparing(truth, predicted):
    scores = {**overlap(truth, predicted), **distances(truth, predicted, SPACING_MM)}
    assert 0.3 < scores["dice"] < 0.97
    assert scores["hd95_mm"] < scores["msd_mm"]
    assert 0.05 < scores["nsd"] < 0.95
    assert surface(truth).sum() != surface(predicted).sum()


@ON_PAIRS
def test_overlap_and_distances_are_those_of_medpy(truth, predicted):
    medpy = pytest.importorskip("medpy.metric.binary")
    theirs = {
        "dice": medpy.dc(predicted, truth),
        "precision": medpy.precision(predicted, truth),
        "recall": medpy.recall(predicted, truth),
        "specificity": medpy.specificity(predicted, truth),
        "asd_mm": medpy.assd(predicted, truth, SPACING_MM),
        "msd_mm": medpy.hd(predicted, truth, SPACING_MM),
        "hd95_mm": medpy.hd95(predicted, truth, SPACING_MM),
    }
    ours = {**overlap(truth, predicted), **distances(truth, predicted, SPACING_MM)}
    assert ours == pytest.approx(theirs | {"nsd": ours["nsd"]}, rel=1e-9)


@ON_PAIRS
def test_each_direction_is_medpys_asd_and_their_mean_is_not_the_papers_asd(truth, predicted):
    medpy = pytest.importorskip("medpy.metric.binary")
    directed = [medpy.asd(predicted, truth, SPACING_MM), medpy.asd(truth, predicted, SPACING_MM)]
    assert [d.mean() for d in surface_distances(truth, predicted, SPACING_MM)] == pytest.approx(directed, abs=1e-9)
    asd = distances(truth, predicted, SPACING_MM)["asd_mm"]
    sizes = [surface(predicted).sum(), surface(truth).sum()]
    assert asd == pytest.approx(np.average(directed, weights=sizes), abs=1e-9)
    assert asd != pytest.approx(np.mean(directed), abs=1e-4)
    # Nor is a surface that also counts voxels which touch the outside by a corner ours.
    assert asd != pytest.approx(medpy.assd(predicted, truth, SPACING_MM, connectivity=3), abs=1e-3)


@ON_PAIRS
def test_distances_are_those_of_monai_and_its_percentile_is_the_larger_of_both_directions(truth, predicted):
    monai, torch = pytest.importorskip("monai.metrics"), pytest.importorskip("torch")
    y, y_pred = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (truth, predicted))
    given = {"include_background": True, "spacing": SPACING_MM}
    ours = distances(truth, predicted, SPACING_MM)
    asd = monai.compute_average_surface_distance(y_pred, y, symmetric=True, **given)
    msd = monai.compute_hausdorff_distance(y_pred, y, **given)
    assert (ours["asd_mm"], ours["msd_mm"]) == pytest.approx((asd.item(), msd.item()), rel=1e-5)
    for tolerance_mm in (TOLERANCE_MM, 2.0):
        nsd = monai.compute_surface_dice(y_pred, y, [tolerance_mm], use_subvoxels=False, **given)
        assert distances(truth, predicted, SPACING_MM, tolerance_mm)["nsd"] == pytest.approx(nsd.item(), abs=1e-6)
    hd95 = monai.compute_hausdorff_distance(y_pred, y, percentile=95, **given)
    directed = [np.percentile(d, 95) for d in surface_distances(truth, predicted, SPACING_MM)]
    assert max(directed) == pytest.approx(hd95.item(), rel=1e-5)
    assert min(directed) - 1e-9 <= ours["hd95_mm"] <= max(directed) + 1e-9


def by_area(truth: np.ndarray, predicted: np.ndarray, spacing_mm) -> dict[str, float]:
    """Our four scores by surface-distance; both directions' averages pooled by area."""
    deepmind = pytest.importorskip("surface_distance")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of scipy's namespaces
        found = deepmind.compute_surface_distances(truth, predicted, spacing_mm)
    areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
    return {
        "asd_mm": np.average(deepmind.compute_average_surface_distance(found), weights=areas),
        "msd_mm": deepmind.compute_robust_hausdorff(found, 100),
        "hd95_mm": deepmind.compute_robust_hausdorff(found, 95),
        "nsd": deepmind.compute_surface_dice_at_tolerance(found, TOLERANCE_MM),
    }


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_moved_by_one_voxel_is_as_far_by_area_as_by_voxels(axis):
    truth = np.pad(femurs(0)[0], 2)
    moved = np.roll(truth, 1, axis)
    msd = distances(truth, moved, SPACING_MM)["msd_mm"]
    assert msd == pytest.approx(SPACING_MM[axis])
    assert msd == pytest.approx(by_area(truth, moved, SPACING_MM)["msd_mm"])


@pytest.mark.parametrize("voxel_mm", [1.0, 0.5, 0.3])
def test_by_area_scores_differ_by_a_fraction_of_a_cubic_voxel_however_small(voxel_mm):
    spacing_mm = (voxel_mm,) * 3
    where = [np.arange(-14, 16, voxel_mm) - 0.1] * 3
    x, y, z = np.meshgrid(*where, indexing="ij")
    truth, predicted = np.hypot(np.hypot(x, y), z) < 11, np.hypot(np.hypot(x - 1.5, y - 0.3), z) < 11.7
    theirs, ours = by_area(truth, predicted, spacing_mm), distances(truth, predicted, spacing_mm)
    assert 0.1 < (ours["asd_mm"] - theirs["asd_mm"]) / voxel_mm < 0.4
    assert ours["msd_mm"] == pytest.approx(theirs["msd_mm"], abs=0.5 * voxel_mm)
    assert ours["hd95_mm"] == pytest.approx(theirs["hd95_mm"], abs=0.5 * voxel_mm)
    assert ours["nsd"] == pytest.approx(theirs["nsd"], abs=0.2 * voxel_mm)


@pytest.mark.parametrize("seed", range(3))
def test_by_area_maxima_are_close_where_voxels_are_long_and_means_are_not(seed):
    truth, predicted = femurs(seed)
    theirs, ours = by_area(truth, predicted, SPACING_MM), distances(truth, predicted, SPACING_MM)
    for score in ("msd_mm", "hd95_mm"):
        assert ours[score] == pytest.approx(theirs[score], abs=np.hypot(*SPACING_MM[:2]))
    assert 0 < ours["asd_mm"] - theirs["asd_mm"] < ours["asd_mm"] / 3
    assert 0 < theirs["nsd"] - ours["nsd"] < 0.15
