"""The batches of an epoch: right in shape and order, alike where they must be, and different where they may be."""

import shutil

import keras
import numpy as np
import pytest
from conftest import tiny_hip

from femur_lib import dataset
from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.cohort import read_cohort
from femur_lib.config import RECIPES
from femur_lib.dataset import HipDataset, Sample, load_samples
from femur_lib.losses import BORDER_WEIGHT
from femur_lib.preprocessing import Grid, mask_to_grid, three_slices, to_grid
from femur_lib.volumes import Volume, to_stack

FLAT = Architecture(2, 2, 2)
UNPADDED = Architecture(2, 2, 1, padded=False)
SOLID = Architecture(3, 2, 2)


def samples(n: int = 3, shape=(20, 24, 4)) -> list[Sample]:
    """Images that show their mask and, in every slice, a number of its own by which we recognise it."""
    result = []
    for i in range(n):
        mask = (np.random.default_rng(i).random(shape) < 0.4).astype(np.uint8)
        number = 10 * (i * shape[2] + np.arange(shape[2]))
        result.append(Sample(f"sub-{i}", (mask + number).astype(np.float32), mask))
    return result


HOW = {"paper": (("flip",), True), "ours": (RECIPES["ours"].augmentation, True), "none": ((), False)}  # seeded?
KINDS = pytest.mark.parametrize("architecture", [FLAT, UNPADDED, SOLID], ids=["2d", "2d-unpadded", "3d"])


def dataset_of(architecture: Architecture, recipe="paper", batch_size=2, seed=0, epoch=0, of=None) -> HipDataset:
    augmentation, seeded = HOW[recipe]
    found = HipDataset(of or samples(), architecture, batch_size, augmentation, seed if seeded else None)
    found.epoch = epoch
    return found


def epoch_of(hips: HipDataset) -> list[tuple[np.ndarray, ...]]:
    return [hips[i] for i in range(len(hips))]


def equal(one: list, other: list) -> bool:
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for batches in pairs for a, b in zip(*batches, strict=True))


def numbers(batches) -> list[int]:
    """The numbers of the (middle) slices of an epoch, in the order in which they came."""
    return [int(x[..., x.shape[-1] // 2].min() // 10) for images, _ in batches for x in images]


# --- reading


def tiny_hip_on(grid: Grid, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A hip of the tiny cohort, made again and brought onto a grid."""
    image, mask = tiny_hip(number)
    return to_grid(to_stack(image).array, grid), mask_to_grid(to_stack(Volume(mask, image.affine)).array, grid)


@pytest.mark.parametrize("cached", [False, True])
def test_samples_are_hips_on_the_networks_grid_in_the_order_asked(tiny_cohort, tmp_path, cached):
    grid = Grid(16, 12, 6)
    found = load_samples(tiny_cohort, ["sub-02R", "sub-01R"], grid, tmp_path if cached else None)
    assert [sample.subject for sample in found] == ["sub-02R", "sub-01R"]
    for sample, number in zip(found, (2, 0), strict=True):
        image, mask = tiny_hip_on(grid, number)
        np.testing.assert_allclose(sample.image, image, atol=1e-4)
        np.testing.assert_array_equal(sample.mask, mask)
        assert (sample.image.dtype, sample.mask.dtype) == (np.float32, np.uint8)


def test_a_hip_that_was_read_once_is_found_on_disk_and_is_the_same(tiny_cohort, tmp_path, monkeypatch):
    names, grid = ["sub-01R", "sub-02R"], Grid(16, 12, 6)
    first = load_samples(tiny_cohort, names, grid, tmp_path)
    monkeypatch.setattr(dataset, "read_subject", lambda subject: 1 / 0)  # must not be read again
    for a, b in zip(first, load_samples(tiny_cohort, names, grid, tmp_path), strict=True):
        for one, other in ((a.image, b.image), (a.mask, b.mask)):
            np.testing.assert_array_equal(one, other)
            assert isinstance(other, np.memmap)  # and not held in memory


def test_another_grid_and_a_changed_file_are_read_afresh(cohort_copy, tmp_path):
    cohort, cache = read_cohort(cohort_copy), tmp_path / "cache"
    (before,) = load_samples(cohort, ["sub-01R"], Grid(16, 12, 6), cache)
    (smaller,) = load_samples(cohort, ["sub-01R"], Grid(8, 12, 6), cache)
    np.testing.assert_array_equal(smaller.image, tiny_hip_on(Grid(8, 12, 6), 0)[0])
    shutil.copy(cohort["sub-02R"].image, cohort["sub-01R"].image)
    (after,) = load_samples(cohort, ["sub-01R"], Grid(16, 12, 6), cache)
    assert not np.array_equal(before.image, after.image)


def test_a_damaged_cache_is_replaced(tiny_cohort, tmp_path):
    grid = Grid(16, 12, 6)
    load_samples(tiny_cohort, ["sub-01R"], grid, tmp_path)
    (kept,) = tmp_path.rglob("output.pkl")
    kept.write_bytes(kept.read_bytes()[:100])
    (after,) = load_samples(tiny_cohort, ["sub-01R"], grid, tmp_path)
    np.testing.assert_array_equal(after.image, tiny_hip_on(grid, 0)[0])


# --- batches


def test_a_2d_batch_is_slices_with_their_neighbours_and_the_masks_of_the_middle_ones():
    images, masks = dataset_of(FLAT, "none", batch_size=5)[0]
    assert (images.shape, masks.shape) == ((5, 20, 24, 3), (5, 20, 24))
    np.testing.assert_array_equal(images[2], three_slices(samples()[0].image, 2))
    np.testing.assert_array_equal(masks[2], samples()[0].mask[..., 2])


def test_a_3d_batch_is_whole_volumes():
    images, masks = dataset_of(SOLID, "none")[0]
    assert (images.shape, masks.shape) == ((2, 20, 24, 4, 1), (2, 20, 24, 4))
    np.testing.assert_array_equal(images[1, ..., 0], samples()[1].image)
    np.testing.assert_array_equal(masks[1], samples()[1].mask)


@pytest.mark.parametrize("recipe", HOW)
@KINDS
def test_every_recipe_serves_every_network(architecture, recipe):
    for images, masks in epoch_of(dataset_of(architecture, recipe)):
        assert (images.dtype, masks.dtype) == (np.float32, np.uint8)
        assert len(images) == len(masks)
        assert np.isfinite(images).all()
        assert masks.any()


@pytest.mark.parametrize("recipe", ["paper", "none"])
@KINDS
def test_an_epoch_shows_every_slice_or_volume_once(architecture, recipe):
    of = samples(4, (20, 24, 1 if architecture is SOLID else 3))
    batches = epoch_of(dataset_of(architecture, recipe, batch_size=3, epoch=2, of=of))
    assert [len(x) for x, _ in batches] == ([3, 1] if architecture is SOLID else [3, 3, 3, 3])
    assert sorted(numbers(batches)) == list(range(4 if architecture is SOLID else 12))


def test_an_epoch_of_several_passes_has_each_scan_as_often_and_flips_it_each_time_by_chance():
    hips = HipDataset(samples(), SOLID, 1, ("flip",), 0, passes=6)
    masks = [mask.tobytes() for _, mask in epoch_of(hips)]
    assert len(masks) == len(hips) == 6 * len(samples())
    assert len(set(masks)) == 2 * len(samples())  # each as it is, and mirrored
    of_each = [{s.mask.tobytes(), s.mask[:, ::-1].tobytes()} for s in samples()]
    assert [sum(mask in both for mask in masks) for both in of_each] == [6, 6, 6]


@pytest.mark.parametrize("recipe", ["paper", "ours"])
@pytest.mark.parametrize("architecture", [UNPADDED, SOLID], ids=["2d", "3d"])
def test_a_batch_depends_on_seed_epoch_and_number_and_not_on_those_made_before(architecture, recipe):
    """A training that goes on after a stop, or prepares batches ahead, sees the same samples."""
    one, other = (dataset_of(architecture, recipe, batch_size=1, seed=4, epoch=7) for _ in range(2))
    backwards = [other[i] for i in reversed(range(len(other)))][::-1]
    assert equal(epoch_of(one), backwards)


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}])
def test_another_epoch_or_seed_has_another_order_and_changes_a_scan_in_another_way(change):
    assert numbers(epoch_of(dataset_of(FLAT))) != numbers(epoch_of(dataset_of(FLAT, **change)))
    alone = samples(1)
    assert not equal(*(epoch_of(dataset_of(SOLID, "ours", of=alone, **c)) for c in ({}, change)))


def test_validation_is_in_order_and_the_same_in_every_epoch():
    assert numbers(epoch_of(dataset_of(FLAT, "none"))) == list(range(12))
    assert equal(epoch_of(dataset_of(FLAT, "none")), epoch_of(dataset_of(FLAT, "none", epoch=5)))


@pytest.mark.parametrize("recipe", ["paper", "none"])
@pytest.mark.parametrize(("architecture", "size"), [(FLAT, (24, 28)), (SOLID, (24, 28, 8))], ids=["2d", "3d"])
def test_padded_networks_get_sizes_that_they_can_halve_and_masks_on_their_images(architecture, size, recipe):
    for images, masks in epoch_of(dataset_of(architecture, recipe, of=samples(2, (21, 26, 5)))):
        assert images.shape[1:-1] == masks.shape[1:] == size
        np.testing.assert_array_equal(images[..., images.shape[-1] // 2] % 10, masks)


@pytest.mark.parametrize("recipe", ["paper", "none"])
def test_the_target_of_an_unpadded_network_is_the_window_that_it_sees(recipe):
    rows, columns = unpadded_geometry(21, 1), unpadded_geometry(26, 1)
    for images, masks in epoch_of(dataset_of(UNPADDED, recipe, of=samples(2, (21, 26, 4)))):
        window = np.s_[:, rows.before : rows.before + rows.output, columns.before : columns.before + columns.output]
        np.testing.assert_array_equal(images[..., 1][window] % 10, masks)
        assert images.shape[1:] == (21, 26, 3)


@KINDS
def test_border_weights_come_with_the_masks_they_belong_to(architecture):
    solid = [Sample("a", np.zeros((36, 40, 4), np.float32), tiny_hip(3, (36, 40, 4))[1].astype(np.uint8))]
    hips = HipDataset(solid, architecture, 4, ("flip",), 0, border_weights=True)
    _, masks, weights = (np.concatenate(a) for a in zip(*epoch_of(hips), strict=True))
    assert (masks.shape, weights.dtype) == (weights.shape, np.float32)
    on_border = weights > 1 + 0.99 * BORDER_WEIGHT  # the femur's outermost pixels, and those around it
    assert 0 < masks[on_border].mean() < 1
    assert 0.02 < on_border.mean() < 0.3


# --- as Keras takes it


class Seen(keras.Model):
    """A model that keeps the batches it is given, in their order."""

    def __init__(self):
        super().__init__()
        self.batches: list[tuple[np.ndarray, ...]] = []
        self.built = True  # it has no weights

    def train_step(self, *given):
        """Keep a batch; JAX hands on its state first."""
        self.batches.append(tuple(np.array(a) for a in given[-1]))
        logs = {"seen": keras.ops.convert_to_tensor(1.0)}
        return logs if len(given) == 1 else (logs, given[0])


@KINDS
def test_keras_gets_every_epochs_batches_in_their_order(architecture):
    """Threads prepare them; each epoch has its own, the first after a restart included."""
    hips, model = dataset_of(architecture), Seen()
    model.compile(run_eagerly=True)
    follow = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(hips, "epoch", epoch))
    model.fit(hips, epochs=5, initial_epoch=3, callbacks=[follow], shuffle=False, verbose=0)
    assert equal(model.batches, [b for epoch in (3, 4) for b in epoch_of(dataset_of(architecture, epoch=epoch))])
