import shutil

import numpy as np
import pytest
from conftest import tiny_hip
from hypothesis import given
from hypothesis import strategies as st

from femur_lib import feeding
from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.cohort import read_cohort
from femur_lib.feeding import Feed, Sample, load_samples
from femur_lib.inputs import pad_to_multiple, three_slices, unpad
from femur_lib.losses import BORDER_WEIGHT
from femur_lib.recipes import RECIPES
from femur_lib.volumes import Grid, mask_to_grid, to_grid, to_stack

FLAT = Architecture(2, 2, 2)
UNPADDED = Architecture(2, 2, 1, padded=False)
SOLID = Architecture(3, 2, 2)


def samples(n: int = 3, shape=(20, 24, 4)) -> list[Sample]:
    """Images that show their mask and, in every slice, a number of its own, so that each is known again."""
    result = []
    for i in range(n):
        mask = (np.random.default_rng(i).random(shape) < 0.4).astype(np.uint8)
        number = 10 * (i * shape[2] + np.arange(shape[2]))
        result.append(Sample(f"sub-{i}", (mask + number).astype(np.float32), mask))
    return result


HOW = {"paper": (("flip",), 0), "ours": (RECIPES["ours"].augmentation, 0), "none": ((), None)}  # augmentation, seed


def feed_of(architecture: Architecture, recipe="paper", batch_size=2, seed=0, epoch=0, of=None) -> Feed:
    augmentation, ordered = HOW[recipe]
    seed = None if ordered is None else seed
    feed = Feed(samples() if of is None else of, architecture, batch_size, augmentation, seed)
    feed.epoch = epoch
    return feed


def epoch_of(feed: Feed) -> list[tuple[np.ndarray, np.ndarray]]:
    return [feed.batch(i) for i in range(len(feed))]


def equal(one: list, other: list) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for batches in pairs for a, b in zip(*batches, strict=True))


def numbers(batches) -> list[int]:
    """The numbers of the (middle) slices of an epoch, in the order they came."""
    return [int(x[..., x.shape[-1] // 2].min() // 10) for images, _ in batches for x in images]


# --- reading


def test_samples_are_hips_on_the_networks_grid(tiny_cohort):
    grid = Grid(16, 12, 6)
    (sample,) = load_samples(tiny_cohort, ["sub-02R"], grid)
    image, mask = tiny_hip(2)
    assert sample.subject == "sub-02R"
    np.testing.assert_allclose(sample.image, to_grid(to_stack(image).array, grid), atol=1e-4)
    expected = mask_to_grid(to_stack(type(image)(mask, image.affine)).array, grid)
    np.testing.assert_array_equal(sample.mask, expected)
    assert (sample.image.dtype, sample.mask.dtype) == (np.float32, np.uint8)


def test_samples_come_in_the_order_asked(tiny_cohort):
    names = ["sub-05L", "sub-01R"]
    assert [s.subject for s in load_samples(tiny_cohort, names, Grid(8, 8, 4))] == names


def test_what_was_read_once_is_found_on_disk_and_is_the_same(tiny_cohort, tmp_path, monkeypatch):
    names, grid = ["sub-01R", "sub-02R"], Grid(16, 12, 6)
    first = load_samples(tiny_cohort, names, grid, tmp_path)
    monkeypatch.setattr(feeding, "read_subject", lambda subject: 1 / 0)  # must not be read again
    again = load_samples(tiny_cohort, names, grid, tmp_path)
    plain = [(tiny_hip_on(grid, name)) for name in names]
    for a, b, c in zip(first, again, plain, strict=True):
        assert a.subject == b.subject
        for one, other, expected in zip((a.image, a.mask), (b.image, b.mask), c, strict=True):
            np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(other, expected)
            assert isinstance(other, np.memmap)  # and not held in memory


def tiny_hip_on(grid: Grid, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A hip of the tiny cohort, made again and brought onto a grid."""
    image, mask = tiny_hip({"sub-01R": 0, "sub-02R": 2}[name])
    return to_grid(to_stack(image).array, grid), mask_to_grid(to_stack(type(image)(mask, image.affine)).array, grid)


@pytest.mark.parametrize("other", [Grid(8, 12, 6), Grid(16, 12, 6, "min-max")], ids=str)
def test_another_grid_is_read_anew(tiny_cohort, tmp_path, other):
    load_samples(tiny_cohort, ["sub-01R"], Grid(16, 12, 6), tmp_path)
    (cached,), (plain,) = (load_samples(tiny_cohort, ["sub-01R"], other, cache) for cache in (tmp_path, None))
    np.testing.assert_array_equal(cached.image, plain.image)


def test_a_file_that_has_changed_is_read_anew(cohort_copy, tmp_path):
    cohort, grid = read_cohort(cohort_copy), Grid(16, 12, 6)
    (before,) = load_samples(cohort, ["sub-01R"], grid, tmp_path / "cache")
    shutil.copy(cohort["sub-02R"].image, cohort["sub-01R"].image)
    (after,) = load_samples(cohort, ["sub-01R"], grid, tmp_path / "cache")
    assert not np.array_equal(before.image, after.image)


def test_a_damaged_cache_is_made_anew(tiny_cohort, tmp_path):
    grid = Grid(16, 12, 6)
    (before,) = load_samples(tiny_cohort, ["sub-01R"], grid, tmp_path)
    expected = np.array(before.image)
    del before
    (kept,) = tmp_path.rglob("output.pkl")
    kept.write_bytes(kept.read_bytes()[:100])
    (after,) = load_samples(tiny_cohort, ["sub-01R"], grid, tmp_path)
    np.testing.assert_array_equal(after.image, expected)


# --- border weights


@pytest.mark.parametrize("architecture", [FLAT, UNPADDED, SOLID], ids=["2d", "unpadded", "3d"])
def test_border_weights_come_with_the_masks_they_belong_to(architecture):
    solid = [Sample("a", np.zeros((36, 40, 4), np.float32), tiny_hip(3, (36, 40, 4))[1].astype(np.uint8))]
    feed = Feed(solid, architecture, 4, ("flip",), 0, border_weights=True)
    _, masks, weights = (np.concatenate(a) for a in zip(*feed.dataset().as_numpy_iterator(), strict=True))
    assert (masks.shape, weights.dtype) == (weights.shape, np.float32)
    on_border = weights > 1 + 0.99 * BORDER_WEIGHT  # the femur's outermost pixels, and those around it
    assert 0 < masks[on_border].mean() < 1
    assert weights[~on_border].max() < 1 + 0.99 * BORDER_WEIGHT
    assert 0.02 < on_border.mean() < 0.3


# --- slices with their neighbours


@pytest.mark.parametrize(("k", "expected"), [(0, [0, 0, 1]), (2, [1, 2, 3]), (4, [3, 4, 4])])
def test_three_slices_repeat_the_ends(k, expected):
    stack = np.broadcast_to(np.arange(5), (2, 3, 5))
    np.testing.assert_array_equal(three_slices(stack, k)[0, 0], expected)


def test_a_single_slice_is_its_own_neighbour():
    assert three_slices(np.ones((2, 3, 1)), 0).shape == (2, 3, 3)


# --- padding


@given(
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    multiples=st.lists(st.integers(1, 16), max_size=4),
)
def test_unpad_takes_back_what_pad_to_multiple_added(shape, multiples):
    multiples = multiples[: len(shape)]
    array = np.arange(np.prod(shape)).reshape(shape)
    padded = pad_to_multiple(array, multiples)
    assert all(n % m == 0 for n, m in zip(padded.shape, multiples, strict=False))
    assert all(n - s < m for n, s, m in zip(padded.shape, shape, multiples, strict=False))
    np.testing.assert_array_equal(unpad(padded, shape), array)


def test_padding_mirrors_both_ends():
    np.testing.assert_array_equal(pad_to_multiple(np.array([1, 2, 3, 4, 5]), [8]), [1, 1, 2, 3, 4, 5, 5, 4])


def test_trailing_axes_are_not_padded():
    assert pad_to_multiple(np.zeros((5, 5, 3)), (4, 4)).shape == (8, 8, 3)
    assert unpad(np.zeros((8, 8, 3)), (5, 5)).shape == (5, 5, 3)


# --- batches


def test_a_2d_batch_is_slices_with_neighbours_and_middle_masks():
    images, masks = feed_of(FLAT, "none", batch_size=5).batch(0)
    assert (images.shape, images.dtype) == ((5, 20, 24, 3), np.float32)
    assert (masks.shape, masks.dtype) == ((5, 20, 24), np.uint8)
    np.testing.assert_array_equal(images[2], three_slices(samples()[0].image, 2))
    np.testing.assert_array_equal(masks[2], samples()[0].mask[..., 2])


def test_a_3d_batch_is_whole_volumes():
    images, masks = feed_of(SOLID, "none").batch(0)
    assert (images.shape, images.dtype) == ((2, 20, 24, 4, 1), np.float32)
    assert (masks.shape, masks.dtype) == ((2, 20, 24, 4), np.uint8)
    np.testing.assert_array_equal(images[1, ..., 0], samples()[1].image)
    np.testing.assert_array_equal(masks[1], samples()[1].mask)


@pytest.mark.parametrize("recipe", ["paper", "ours", "none"])
@pytest.mark.parametrize("architecture", [FLAT, UNPADDED, SOLID], ids=["2d", "2d-unpadded", "3d"])
def test_every_recipe_feeds_every_network(architecture, recipe):
    for images, masks in epoch_of(feed_of(architecture, recipe)):
        assert images.dtype == np.float32
        assert masks.dtype == np.uint8
        assert len(images) == len(masks)
        assert np.isfinite(images).all()
        assert masks.any()


def test_the_last_batch_holds_the_rest():
    feed = feed_of(FLAT, batch_size=5)
    assert len(feed) == 3
    assert [len(x) for x, _ in epoch_of(feed)] == [5, 5, 2]


@pytest.mark.parametrize("architecture", [FLAT, UNPADDED, SOLID], ids=["2d", "2d-unpadded", "3d"])
@pytest.mark.parametrize("recipe", ["paper", "none"])
def test_an_epoch_shows_every_slice_or_volume_once(architecture, recipe):
    of = samples(4, (20, 24, 1 if architecture is SOLID else 3))
    seen = numbers(epoch_of(feed_of(architecture, recipe, batch_size=3, epoch=2, of=of)))
    assert sorted(seen) == list(range(4 if architecture is SOLID else 12))


@pytest.mark.parametrize("recipe", ["paper", "ours"])
@pytest.mark.parametrize("architecture", [UNPADDED, SOLID], ids=["2d", "3d"])
def test_the_same_epoch_has_the_same_batches(architecture, recipe):
    assert equal(*(epoch_of(feed_of(architecture, recipe, seed=4, epoch=7)) for _ in range(2)))


def test_a_batch_does_not_depend_on_those_made_before():
    """A training that goes on after a stop, or prefetches, sees the same samples."""
    feed = feed_of(SOLID, "ours", batch_size=1)
    backwards = [feed.batch(i) for i in reversed(range(len(feed)))][::-1]
    assert equal(epoch_of(feed), backwards)


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}])
def test_another_epoch_or_seed_has_another_order(change):
    assert numbers(epoch_of(feed_of(FLAT))) != numbers(epoch_of(feed_of(FLAT, **change)))


def test_batches_of_an_epoch_are_flipped_each_in_its_own_way():
    def is_flipped(image):
        own = {int(s.image[..., k].min() // 10): s.image[..., k] for s in samples(6) for k in range(4)}
        return not np.array_equal(image, own[int(image.min() // 10)])

    batches = epoch_of(feed_of(FLAT, batch_size=1, of=samples(6)))
    assert {is_flipped(x[0, ..., 1]) for x, _ in batches} == {True, False}


def test_validation_is_in_order_and_as_it_is_in_every_epoch():
    assert numbers(epoch_of(feed_of(FLAT, "none"))) == list(range(12))
    assert equal(epoch_of(feed_of(FLAT, "none")), epoch_of(feed_of(FLAT, "none", seed=3, epoch=5)))


@pytest.mark.parametrize("architecture", [FLAT, SOLID], ids=["2d", "3d"])
def test_padded_networks_get_sizes_that_they_can_halve(architecture):
    for images, masks in epoch_of(feed_of(architecture, of=samples(2, (21, 26, 5)))):
        size = (24, 28) if architecture is FLAT else (24, 28, 8)
        assert images.shape[1:-1] == masks.shape[1:] == size


@pytest.mark.parametrize("recipe", ["paper", "none"])
@pytest.mark.parametrize("architecture", [FLAT, SOLID], ids=["2d", "3d"])
def test_padded_masks_lie_on_their_images(architecture, recipe):
    for images, masks in epoch_of(feed_of(architecture, recipe, of=samples(2, (21, 26, 5)))):
        middle = images[..., images.shape[-1] // 2]
        np.testing.assert_array_equal(middle % 10, masks)


@pytest.mark.parametrize("recipe", ["paper", "none"])
def test_the_unpadded_target_is_the_window_that_the_network_sees(recipe):
    of = samples(2, (21, 26, 4))
    rows, columns = unpadded_geometry(21, 1), unpadded_geometry(26, 1)
    for images, masks in epoch_of(feed_of(UNPADDED, recipe, of=of)):
        assert masks.shape[1:] == (rows.output, columns.output)
        window = np.s_[:, rows.before : rows.before + rows.output, columns.before : columns.before + columns.output]
        np.testing.assert_array_equal(images[..., 1][window] % 10, masks)
        assert images.shape[1:] == (21, 26, 3)


# --- as TensorFlow takes it


@pytest.mark.parametrize("architecture", [FLAT, UNPADDED, SOLID], ids=["2d", "2d-unpadded", "3d"])
def test_the_dataset_is_the_epoch(architecture):
    feed = feed_of(architecture, "paper", epoch=3)
    data = feed.dataset()
    from_tensorflow = [(x.numpy(), y.numpy()) for x, y in data]
    assert len(data) == len(feed)
    assert equal(from_tensorflow, epoch_of(feed))


@pytest.mark.parametrize(("architecture", "rank", "channels"), [(FLAT, 4, 3), (SOLID, 5, 1)], ids=["2d", "3d"])
def test_the_dataset_tells_ranks_and_channels(architecture, rank, channels):
    x, y = feed_of(architecture).dataset().element_spec
    assert (x.shape.rank, x.shape[-1], x.dtype.name) == (rank, channels, "float32")
    assert (y.shape.rank, y.dtype.name) == (rank - 1, "uint8")


def test_the_dataset_follows_the_epoch():
    feed = feed_of(FLAT)
    data = feed.dataset()
    first = [(x.numpy(), y.numpy()) for x, y in data]
    feed.epoch = 1
    second = [(x.numpy(), y.numpy()) for x, y in data]
    assert equal(first, epoch_of(feed_of(FLAT, epoch=0)))
    assert equal(second, epoch_of(feed_of(FLAT, epoch=1)))


def test_an_epoch_of_several_passes_has_each_scan_as_often_each_time_flipped_anew():
    feed = Feed(samples(), SOLID, 1, ("flip",), 0, passes=6)
    batches = epoch_of(feed)
    assert len(batches) == len(feed) == 6 * len(samples())
    masks = [mask.tobytes() for _, mask in batches]
    assert len(set(masks)) == 2 * len(samples())  # each as it is, and mirrored
    of_each = [{s.mask.tobytes(), s.mask[:, ::-1].tobytes()} for s in samples()]
    assert [sum(mask in both for mask in masks) for both in of_each] == [6, 6, 6]
