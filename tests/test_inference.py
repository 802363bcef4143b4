"""From a scan on any axes to a probability and a mask in the same place."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from conftest import affine_of, centre_of, draw, world
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from femur_lib import inference
from femur_lib._runtime.errors import DataError
from femur_lib.architecture import Architecture, cost, unpadded_geometry
from femur_lib.inference import (
    Segmenter,
    check_fits,
    check_free,
    grid_probability,
    largest_component,
    predict_volume,
    segment,
    slice_windows,
    slices_at_once,
    threshold_mask,
)
from femur_lib.preprocessing import Grid, to_grid
from femur_lib.volumes import Volume, central_slices, from_stack, to_stack

FLAT = Architecture(2, 2, 2)
UNPADDED = Architecture(2, 2, 1, padded=False)
SOLID = Architecture(3, 2, 2)
GRID = Grid(30, 26, 12)


class Fake:
    """A network without weights: ``look`` makes the femur's probability (N, ...) of images (N, ..., C)."""

    def __init__(self, look):
        self.look, self.shapes = look, []

    def predict_on_batch(self, x):
        self.shapes.append(x.shape)
        p = np.asarray(self.look(x), np.float32)
        return np.stack([1 - p, p], axis=-1)


def middle(x, channel: int | None = None):
    """The middle slice, or another channel, as it is."""
    return x[..., x.shape[-1] // 2 if channel is None else channel]


def window(x, channel: int = 1):
    """The same of an unpadded network with one level."""
    rows, columns = (unpadded_geometry(n, 1) for n in x.shape[1:3])
    return x[:, rows.before : rows.before + rows.output, columns.before : columns.before + columns.output, channel]


def bright(x):
    """Femur is what is bright."""
    return middle(x) > 2


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


# --- a segmenter


def test_a_mask_is_cut_at_the_segmenters_threshold_and_may_keep_the_largest_component_alone():
    array = np.full((30, 26, 12), 0.3, np.float32)
    array[4:9, 4:9, 4:9], array[20, 20, 5], array[25, 5, 5] = 0.6, 0.6, 0.9
    scan = Volume(array, affine_of("ILP"))
    back = array.mean(), array.std()  # the network sees z-scores, and gives back what they were made from

    def answer(x):
        return middle(x) * back[1] + back[0]

    for threshold, largest, voxels in ((0.5, False, 127), (0.5, True, 125), (0.7, False, 1)):
        probability, mask = segment(Segmenter(Fake(answer), SOLID, GRID, threshold, largest), scan)
        np.testing.assert_allclose(probability.array, array, atol=1e-5)
        assert mask.array.dtype == bool
        assert mask.array.sum() == voxels


# --- a stack on the grid


@pytest.mark.parametrize("shape", [(28, 32, 8), (29, 35, 5), (26, 30, 1)])
@pytest.mark.parametrize(
    ("architecture", "look"), [(FLAT, middle), (UNPADDED, window), (SOLID, middle)], ids=["2d", "2d-unpadded", "3d"]
)
def test_a_stack_of_any_size_comes_back_in_its_own_size(architecture, look, shape):
    stack = random(*shape)
    p = grid_probability(Segmenter(Fake(look), architecture, GRID), stack)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, stack, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "size"), [(FLAT, (5, 24, 28, 3)), (SOLID, (1, 24, 28, 8, 1))], ids=["2d", "3d"]
)
def test_a_padded_network_is_given_sizes_that_it_can_halve(architecture, size):
    model = Fake(bright)
    grid_probability(Segmenter(model, architecture, GRID), random(21, 27, 5))
    assert model.shapes == [size]


@pytest.mark.parametrize(("channel", "neighbours"), [(0, [0, 0, 1, 2, 3]), (2, [1, 2, 3, 4, 4])])
@pytest.mark.parametrize(("architecture", "look"), [(FLAT, middle), (UNPADDED, window)], ids=["2d", "2d-unpadded"])
def test_2d_networks_see_the_slice_before_and_the_slice_after(architecture, look, channel, neighbours):
    stack = random(29, 35, 5)
    p = grid_probability(Segmenter(Fake(lambda x: look(x, channel)), architecture, GRID), stack)
    np.testing.assert_allclose(p, stack[..., neighbours], atol=1e-6)


@pytest.mark.parametrize(("pixels", "batches"), [(2 * 20 * 24, [2, 2, 1]), (10, [1] * 5)])
def test_slices_go_through_a_2d_network_in_batches_of_at_least_one(monkeypatch, pixels, batches):
    monkeypatch.setattr(inference, "BATCH_PIXELS", pixels)
    model, stack = Fake(middle), random(20, 24, 5)
    np.testing.assert_allclose(grid_probability(Segmenter(model, FLAT, GRID), stack), stack, atol=1e-6)
    assert [shape[0] for shape in model.shapes] == batches


@pytest.mark.parametrize(("features", "expected"), [(2, 4), (128, 2), (512, 1)])
def test_a_batch_is_limited_by_the_memory_of_its_widest_layer(features, expected):
    architecture, size = Architecture(2, features, 4), (512, 512)
    n = slices_at_once(architecture, size)
    assert n == expected
    assert n == 1 or n * 4 * cost(architecture, size).widest <= inference.BATCH_BYTES


def test_an_unpadded_network_answers_in_one_pass_where_that_is_asked_for():
    stack, model = random(24, 26, 3), Fake(window)
    p = grid_probability(Segmenter(model, UNPADDED, GRID, patches="one"), stack)
    assert len(model.shapes) == 1
    np.testing.assert_allclose(p, stack, atol=1e-6)


# --- a scan as it lies on disk


def scan_with_a_blob(axes: str, tilt, shape=(30, 26, 12)) -> tuple[Volume, np.ndarray]:
    """A scan on any axes with one bright ball off its centre, and where (mm) the ball lies."""
    sizes = dict(zip("ILP", shape, strict=True))
    mm = dict(zip("ILP", (1.0, 1.2, 2.5), strict=True))
    letter = ["I" if a in "SI" else "L" if a in "LR" else "P" for a in axes]
    affine = affine_of(axes, [mm[a] for a in letter], tilt, (15.0, -40.0, 70.0))
    array = np.random.default_rng(0).normal(0, 1, [sizes[a] for a in letter]).astype(np.float32)
    place = world(affine, np.array(array.shape) * (0.35, 0.6, 0.55))
    position = world(affine, np.moveaxis(np.indices(array.shape), 0, -1))
    array[np.linalg.norm(position - place, axis=-1) < 6] += 60
    return Volume(array, affine), place


@pytest.mark.parametrize(
    ("axes", "tilt"),
    [("LIP", (0, 0, 0)), ("RSA", (0, 0, 0)), ("LPS", (0, 0, 0)), ("RAI", (0, 0, 0)), ("PIL", (0, 0, 0)),
     ("ASR", (0, 0, 0)), ("LIP", (13, -9, 11)), ("RAS", (-8, 12, 17))],
    ids=["coronal", "coronal, flipped", "axial", "axial, from above", "sagittal", "sagittal, flipped", "oblique",
         "oblique and axial"],
)  # fmt: skip
def test_a_prediction_lies_where_the_femur_lies_in_the_patient_on_the_scans_own_axes(axes, tilt):
    volume, place = scan_with_a_blob(axes, tilt)
    own, resampled = (predict_volume(Segmenter(Fake(bright), SOLID, g), volume) for g in (GRID, Grid(37, 20, 12)))
    np.testing.assert_array_equal(own.array > 0.5, volume.array > 30)  # exact on the scan's own grid
    for p in (own, resampled):
        assert (p.array.shape, p.array.dtype) == (volume.array.shape, np.float32)
        np.testing.assert_array_equal(p.affine, volume.affine)
        np.testing.assert_allclose(centre_of(p), centre_of(Volume(volume.array > 30, volume.affine)), atol=0.3)
        np.testing.assert_allclose(centre_of(p), place, atol=1)


@pytest.mark.parametrize(
    ("architecture", "look"), [(FLAT, bright), (UNPADDED, lambda x: window(x) > 2)], ids=["2d", "2d-unpadded"]
)
def test_2d_networks_see_coronal_slices_of_any_scan(architecture, look):
    volume, _ = scan_with_a_blob("RAS", (5, 0, 0))
    p = predict_volume(Segmenter(Fake(look), architecture, GRID), volume)
    np.testing.assert_array_equal(p.array > 0.5, volume.array > 30)


@pytest.mark.parametrize("every_slice", [True, False])
def test_slices_that_the_grid_leaves_out_are_segmented_unless_the_central_ones_alone_are_wanted(every_slice):
    volume, _ = scan_with_a_blob("PIL", (0, 0, 0))
    everywhere = Fake(lambda x: np.ones(x.shape[:-1]))
    p = predict_volume(Segmenter(everywhere, SOLID, Grid(30, 26, 8), every_slice=every_slice), volume)
    ends = [1, 1] if every_slice else [0, 0]
    np.testing.assert_array_equal(p.array[:, 5, 5], [*ends, 1, 1, 1, 1, 1, 1, 1, 1, *ends])


# --- scans with more slices than the network was trained on

KINDS = pytest.mark.parametrize(
    ("architecture", "look"),
    [(FLAT, middle), (UNPADDED, window), (SOLID, middle)],
    ids=["2d", "2d-unpadded", "3d"],
)


@KINDS
@pytest.mark.parametrize(("before", "after"), [(0, 30), (30, 0), (7, 16)])
@pytest.mark.parametrize("flip", [False, True])
def test_every_slice_is_answered_wherever_the_hip_lies_in_the_stack(architecture, look, before, after, flip):
    volume, _ = scan_with_a_blob("ILP", (0, 0, 0))
    air = np.random.default_rng(1).normal(-4, 0.1, (30, 26, before + after)).astype(np.float32)
    longer = np.concatenate([air[..., :before], volume.array, air[..., before:]], axis=2)
    segmenter = Segmenter(Fake(lambda x: look(x) > 2), architecture, GRID, flip=flip)
    p = predict_volume(segmenter, Volume(longer, volume.affine))
    np.testing.assert_array_equal(p.array > 0.5, longer > 30)


@KINDS
def test_slices_well_within_the_central_ones_are_answered_as_when_these_were_all(architecture, look):
    volume = Volume(random(30, 26, 40), affine_of("ILP"))
    segmenter = Segmenter(Fake(lambda x: look(x) / 8 + 0.5), architecture, Grid(30, 26, 24))
    every = predict_volume(segmenter, volume).array
    central = predict_volume(replace(segmenter, every_slice=False), volume).array
    assert not central[..., :8].any()
    np.testing.assert_allclose(every[..., 11:29], central[..., 11:29], atol=1e-5)


@pytest.mark.parametrize("slices", [5, 12])
def test_a_scan_of_no_more_slices_than_the_grid_is_seen_at_once_as_it_always_was(slices):
    model, volume = Fake(middle), Volume(random(30, 26, slices), affine_of("ILP"))
    p = predict_volume(Segmenter(model, SOLID, GRID), volume)
    assert len(model.shapes) == 1
    np.testing.assert_array_equal(p.array, to_grid(volume.array, GRID))


@given(st.data())
def test_windows_cover_every_slice_and_the_reference_comes_last(data):
    depth = data.draw(st.integers(1, 60))
    slices = data.draw(st.integers(depth, 200))
    start = data.draw(st.integers(0, slices - depth))
    windows = slice_windows(slices, slice(start, start + depth))
    assert windows[-1] == slice(start, start + depth)
    assert {w.stop - w.start for w in windows} == {depth}
    starts = sorted(w.start for w in windows)
    assert (starts[0], starts[-1]) == (0, slices - depth)
    assert all(b - a <= max(1, depth // 8) for a, b in itertools.pairwise(starts))


@given(slices=st.integers(1, 60), depth=st.integers(1, 24))
def test_windows_that_agree_are_blended_into_what_they_agree_on(slices, depth):
    stack = np.broadcast_to(np.linspace(0.5, 1, slices, dtype=np.float32), (4, 4, slices))
    p = grid_probability(Segmenter(Fake(middle), SOLID, Grid(4, 4, depth)), stack)
    np.testing.assert_allclose(p, stack, atol=1e-6)


def test_the_reference_answers_alone_in_its_middle_and_fades_into_its_neighbours():
    class Counting(Fake):
        def predict_on_batch(self, x):
            self.number = getattr(self, "number", 0) + 1
            return super().predict_on_batch(x) * 0 + self.number

    stack = np.ones((4, 4, 20), np.float32) + random(4, 4, 20)
    p = grid_probability(Segmenter(Counting(middle), SOLID, Grid(4, 4, 16)), stack)[0, 0]
    # Windows 0-15, 4-19 and, in a step of 2, the reference 2-17 answer 1, 2 and 3; of 16 slices an eighth fades.
    assert central_slices(20, 16) == slice(2, 18)
    np.testing.assert_array_equal(p[4:16], 3)
    np.testing.assert_allclose(p[[0, 1, 2, 3]], [1, 1, 1 + 2 / 3, 1 + 4 / 3], atol=1e-6)
    np.testing.assert_allclose(p[[16, 17, 18, 19]], [2 + 2 / 3, 2 + 1 / 3, 2, 2], atol=1e-6)


def test_flipping_asks_twice_mirrors_the_second_answer_back_and_averages():
    def left_half(x):  # a network that calls the image's first columns femur, whatever they show
        p = np.zeros(x.shape[:-1])
        p[:, :, : x.shape[2] // 2] = 1
        return p

    volume, _ = scan_with_a_blob("RAS", (5, 0, 0))
    halves = predict_volume(Segmenter(Fake(left_half), SOLID, Grid(28, 24, 12), flip=True), volume)
    np.testing.assert_allclose(halves.array, 0.5, atol=1e-6)
    p = predict_volume(Segmenter(Fake(bright), SOLID, GRID, flip=True), volume)
    np.testing.assert_array_equal(p.array, volume.array > 30)


@pytest.mark.parametrize(
    ("trained_mm", "fits"), [((1, 1.2, 2.5), True), ((1.4, 1.2, 2.5), True), ((1, 1.2, 1.6), False)]
)
def test_a_scan_must_have_pixels_about_as_large_as_those_of_the_training(trained_mm, fits):
    volume, _ = scan_with_a_blob("LPS", (0, 0, 0))
    segmenter = Segmenter(Fake(bright), SOLID, GRID, grid_spacing_mm=trained_mm)
    if fits:
        check_fits(segmenter, "hip.nii", volume)
        return
    with pytest.raises(DataError, match=r"hip\.nii has pixels of 1 x 1\.2 x 2\.5 mm .* 1 x 1\.2 x 1\.6 mm"):
        check_fits(segmenter, "hip.nii", volume)


@pytest.mark.parametrize(
    ("axes", "shape", "spacing_mm", "says", "cure"),
    [
        ("ILP", (30, 26, 12), (1, 1.2, 9), "coronal slices are 9 mm thick instead of about 2.5", {"--resample"}),
        ("LPS", (26, 30, 12), (1.2, 1, 6), "as if it had been scanned in axial planes", {"--resample", "crop"}),
        ("LPS", (26, 30, 5), (1.2, 1, 6), "as if it had been scanned in axial planes", {"--resample"}),
        ("ASL", (12, 30, 5), (1, 1, 6), "as if it had been scanned in sagittal planes", {"--resample"}),
        ("ILP", (30, 60, 12), (1, 1.2, 2.5), "wider than one hip", {"--pelvis", "crop"}),
        ("ILP", (60, 26, 12), (1, 1.2, 2.5), "60 x 31.2 mm .* instead of about 30 x 31.2", {"crop"}),
        ("ILP", (15, 26, 12), (1, 1.2, 2.5), "15 x 31.2 mm .* instead of about 30 x 31.2", {"another network"}),
        ("LPS", (60, 30, 5), (1.2, 1, 6), "wider than one hip", {"--resample", "--pelvis", "crop"}),
    ],
)
def test_a_scan_that_does_not_fit_says_in_what_and_what_helps(axes, shape, spacing_mm, says, cure):
    volume = Volume(random(*shape), affine_of(axes, spacing_mm))
    with pytest.raises(DataError, match=says) as refused:
        check_fits(Segmenter(Fake(bright), SOLID, GRID, grid_spacing_mm=(1, 1.2, 2.5)), "hip.nii", volume)
    cures = {"--resample": "--resample", "--pelvis": "--pelvis", "crop it": "crop", "a network that": "another network"}
    assert {name for words, name in cures.items() if words in str(refused.value).lower()} == cure


@pytest.mark.parametrize("axes", ["ILP", "PIL", "RAS", "SAL"])
@pytest.mark.parametrize("slice_mm", [0.9, 2.5, 9.0])
def test_a_scan_with_other_slices_is_resampled_and_its_probability_comes_back_to_its_own_grid(axes, slice_mm):
    along = {"I": (30, 1.0), "S": (30, 1.0), "L": (26, 1.2), "R": (26, 1.2)}
    along |= {a: (round(30 / slice_mm), slice_mm) for a in "AP"}
    size, spacing = zip(*(along[a] for a in axes), strict=True)
    volume = Volume(np.ones(size, np.float32), affine_of(axes, spacing, (4, -3, 5)))
    stack = to_stack(volume).array.copy()
    stack[8:20, 6:16] = 5
    scan = from_stack(stack, volume)
    model = Fake(lambda x: middle(x) > 1)
    segmenter = Segmenter(model, SOLID, GRID, grid_spacing_mm=(1, 1.2, 2.5), resample=True)
    check_fits(segmenter, "hip.nii", scan)
    p = predict_volume(segmenter, scan)
    assert model.shapes == [(1, 32, 28, 12, 1)]  # 30 mm in slices of 2.5 mm, whatever the scan's
    np.testing.assert_array_equal(p.affine, scan.affine)
    np.testing.assert_array_equal(p.array > 0.5, scan.array > 1)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_name_too_long_for_a_file_is_refused_before_any_work(tmp_path, overwrite):
    with pytest.raises(DataError, match="too long a name"):
        check_free(tmp_path, "患" * 80, overwrite=overwrite)


# --- masks


def test_only_what_is_higher_than_the_threshold_is_femur():
    p = np.array([0.2, 0.5, 0.50001, 0.9], np.float32)
    np.testing.assert_array_equal(threshold_mask(p, 0.5), [False, False, True, True])


def test_voxels_that_share_an_edge_or_a_corner_are_one_piece():
    mask = draw("""
        ###...
        ...##.
        ......

        ......
        ......
        .....#
    """)
    assert largest_component(mask).sum() == 6


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    share=st.sampled_from([0, 0.03, 0.1, 0.2, 1]),
    seed=st.integers(0, 99),
)
def test_the_largest_piece_is_kept_whole_and_of_equal_ones_the_first(shape, share, seed):
    mask = np.random.default_rng(seed).random(shape) < share
    kept = largest_component(mask)
    assert kept.dtype == bool
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = [(pieces == n).sum() for n in range(1, count + 1)]
    np.testing.assert_array_equal(kept, pieces == 1 + int(np.argmax(sizes)) if sizes else np.zeros(shape, bool))
