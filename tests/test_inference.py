import numpy as np
import pytest
from conftest import affine_of, centre_of, pass_through, world

from femur_lib import inference
from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.costs import cost
from femur_lib.inference import (
    grid_probability,
    mirror,
    nine_patches,
    pass_size,
    patch_starts,
    predict_volume,
    slices_at_once,
)
from femur_lib.inputs import three_slices
from femur_lib.networks import rebuilt, unet
from femur_lib.volumes import Grid, Volume

FLAT = Architecture(2, 2, 2)
UNPADDED = Architecture(2, 2, 1, padded=False)
SOLID = Architecture(3, 2, 2)


class Fake:
    """A network without weights: ``look`` makes the femur's probability (N, ...) of images (N, ..., C)."""

    def __init__(self, look):
        self.look, self.inputs = look, []

    def predict_on_batch(self, x):
        self.inputs.append(x)
        p = np.asarray(self.look(x), np.float32)
        return np.stack([1 - p, p], axis=-1)


def centre_window(levels: int, shift: int = 0, channel: int = 1):
    """What an unpadded network that sees one pixel gives: a channel's central window, or that beside it."""

    def look(x):
        rows, columns = (unpadded_geometry(n, levels) for n in x.shape[1:3])
        r, c = rows.before + shift, columns.before + shift
        return x[:, r : r + rows.output, c : c + columns.output, channel]

    return look


def bright(x):
    """Femur is what is bright."""
    return x[..., x.shape[-1] // 2] > 2


def random(*shape) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


# --- nine patches


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_three_patches_cover_an_axis_or_are_refused(levels):
    covered = 0
    for size in range(16, 600, 7):
        try:
            geometry = unpadded_geometry(size, levels)
            starts = patch_starts(geometry)
        except ValueError:
            continue
        covered += 1
        seen = np.zeros(size, int)
        for start in starts:
            assert start + size <= size + geometry.before + geometry.after  # inside the mirrored image
            seen[start : start + geometry.output] += 1
        assert seen.min() >= 1
    assert covered > 10


def test_three_patches_of_the_papers_size_cover_it():
    assert patch_starts(unpadded_geometry(512, 4)) == (0, 94, 188)


def test_patches_that_leave_a_gap_are_refused():
    with pytest.raises(ValueError, match="do not cover 188"):
        patch_starts(unpadded_geometry(188, 4))


def test_the_image_is_mirrored_about_its_border_pixels():
    rows = unpadded_geometry(21, 1)
    assert (rows.before, rows.after) == (8, 9)
    column = mirror(np.arange(21.0).reshape(1, 21, 1, 1).repeat(21, 2), rows, rows)[0, :, 0, 0]
    np.testing.assert_array_equal(column[:10], [8, 7, 6, 5, 4, 3, 2, 1, 0, 1])
    np.testing.assert_array_equal(column[-10:], [20, 19, 18, 17, 16, 15, 14, 13, 12, 11])


@pytest.mark.parametrize(("height", "width", "levels"), [(44, 44, 1), (45, 50, 1), (75, 70, 2), (77, 76, 2)])
def test_nine_patches_put_every_pixel_back_in_its_place(height, width, levels):
    images = random(2, height, width, 3)
    p = nine_patches(Fake(centre_window(levels)), images, levels)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, images[..., 1], atol=1e-6)


@pytest.mark.parametrize("shift", [-3, 2])
def test_nine_patches_see_the_mirrored_image_beyond_the_border(shift):
    images = random(1, 44, 45, 3)
    p = nine_patches(Fake(centre_window(1, shift)), images, 1)
    row, column = np.abs(np.arange(44) + shift), np.abs(np.arange(45) + shift)
    row, column = np.minimum(row, 2 * 43 - row), np.minimum(column, 2 * 44 - column)
    np.testing.assert_allclose(p[0], images[0][np.ix_(row, column)][..., 1], atol=1e-6)


def test_nine_patches_are_nine_of_the_images_size():
    model = Fake(centre_window(1))
    nine_patches(model, random(2, 44, 46, 3), 1)
    assert [x.shape for x in model.inputs] == [(2, 44, 46, 3)] * 9


def test_overlapping_patches_are_averaged():
    calls = iter(np.arange(1, 10) / 10)
    geometry = unpadded_geometry(44, 1)
    model = Fake(lambda x: np.full((1, geometry.output, geometry.output), next(calls)))
    p = nine_patches(model, random(1, 44, 44, 3), 1)[0]
    starts = patch_starts(geometry)
    value = {(r, c): (3 * i + j + 1) / 10 for i, r in enumerate(starts) for j, c in enumerate(starts)}
    for row in range(0, 44, 5):
        for column in range(0, 44, 5):
            over = [
                v for (r, c), v in value.items() if r <= row < r + geometry.output and c <= column < c + geometry.output
            ]
            assert p[row, column] == pytest.approx(np.mean(over), abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(30, 29), (27, 32)])
def test_nine_patches_of_a_real_network_put_every_pixel_back_too(height, width):
    model = unet(Architecture(2, 1, 1, padded=False), (height, width))
    pass_through(model, 1, route=0)
    images = random(1, height, width, 3)
    p = nine_patches(model, images, 1)
    np.testing.assert_allclose(np.log(p / (1 - p)), images[..., 1], atol=1e-4)


# --- a stack on the grid


@pytest.mark.parametrize("shape", [(28, 32, 8), (29, 35, 5), (26, 30, 1)])
@pytest.mark.parametrize("architecture", [FLAT, UNPADDED, SOLID], ids=["2d", "2d-unpadded", "3d"])
def test_any_size_of_stack_comes_back_in_its_own_size(architecture, shape):
    stack = random(*shape)
    look = centre_window(1) if architecture is UNPADDED else lambda x: x[..., x.shape[-1] // 2]
    p = grid_probability(Fake(look), architecture, stack)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, stack, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "size"), [(FLAT, (5, 24, 28, 3)), (SOLID, (1, 24, 28, 8, 1))], ids=["2d", "3d"]
)
def test_a_padded_network_is_given_sizes_that_it_can_halve(architecture, size):
    model = Fake(bright)
    grid_probability(model, architecture, random(21, 27, 5))
    assert [x.shape for x in model.inputs] == [size]


@pytest.mark.parametrize(("channel", "neighbours"), [(0, [0, 0, 1, 2, 3]), (2, [1, 2, 3, 4, 4])])
@pytest.mark.parametrize("architecture", [FLAT, UNPADDED], ids=["2d", "2d-unpadded"])
def test_2d_networks_see_the_slice_before_and_the_slice_after(architecture, channel, neighbours):
    stack = random(29, 35, 5)
    look = centre_window(1, channel=channel) if architecture is UNPADDED else lambda x: x[..., channel]
    np.testing.assert_allclose(grid_probability(Fake(look), architecture, stack), stack[..., neighbours], atol=1e-6)


def test_slices_go_through_a_2d_network_in_batches(monkeypatch):
    monkeypatch.setattr(inference, "BATCH_PIXELS", 2 * 20 * 24)
    model, stack = Fake(lambda x: x[..., 1]), random(20, 24, 5)
    np.testing.assert_allclose(grid_probability(model, FLAT, stack), stack, atol=1e-6)
    assert [len(x) for x in model.inputs] == [2, 2, 1]


def test_batches_stay_within_a_share_of_the_machines_memory():
    architecture, size = Architecture(2, 64, 4), (512, 512)
    counted = cost(architecture, size)
    for gigabytes in (1, 2, 4, 64):
        n = slices_at_once(architecture, size, gigabytes * 10**9)
        assert n == 1 or counted.inference_bytes(n) <= gigabytes * 10**9 / inference.MEMORY_SHARE
    assert slices_at_once(architecture, size, 2 * 10**9) < slices_at_once(architecture, size, 64 * 10**9)
    assert slices_at_once(architecture, size, 10**15) == 4  # more at once is no faster


def test_one_pass_sees_whole_stacks_as_aligned_patches_do():
    architecture, stack = Architecture(2, 2, 2, padded=False), random(72, 76, 3)
    model = unet(architecture, (72, 76))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.5, w.shape) for w in model.get_weights()])
    images = np.stack([three_slices(stack, k) for k in range(3)])
    nine = np.moveaxis(nine_patches(model, images, 2, multiple=4), 0, -1)
    once = grid_probability(rebuilt(model, architecture, pass_size(architecture, 72, 76)), architecture, stack, "one")
    assert once.std() > 0.05
    np.testing.assert_allclose(once, nine, atol=1e-5)


def test_a_slice_larger_than_a_batch_goes_alone(monkeypatch):
    monkeypatch.setattr(inference, "BATCH_PIXELS", 10)
    model = Fake(bright)
    grid_probability(model, FLAT, random(20, 24, 3))
    assert [len(x) for x in model.inputs] == [1, 1, 1]


# --- a scan as it lies on disk


def scan_with_a_blob(axes: str, tilt, shape=(30, 26, 12)) -> tuple[Volume, np.ndarray]:
    """A scan on any axes with one bright ball off its centre, and where (mm) the ball lies."""
    sizes = dict(zip("ILP", shape, strict=True))
    mm = dict(zip("ILP", (1.0, 1.2, 2.5), strict=True))
    letter = ["I" if a in "SI" else "L" if a in "LR" else "P" for a in axes]
    affine = affine_of(axes, [mm[a] for a in letter], tilt, (15.0, -40.0, 70.0))
    array = np.random.default_rng(0).normal(0, 1, [sizes[a] for a in letter]).astype(np.float32)
    at = np.array(array.shape) * (0.35, 0.6, 0.55)
    place = world(affine, at)
    position = world(affine, np.moveaxis(np.indices(array.shape), 0, -1))
    array[np.linalg.norm(position - place, axis=-1) < 6] += 60
    return Volume(array, affine), place


SCANS = {
    "coronal": ("LIP", (0, 0, 0)),
    "coronal, flipped": ("RSA", (0, 0, 0)),
    "axial": ("LPS", (0, 0, 0)),
    "axial, from above": ("RAI", (0, 0, 0)),
    "sagittal": ("PIL", (0, 0, 0)),
    "sagittal, flipped": ("ASR", (0, 0, 0)),
    "oblique": ("LIP", (13, -9, 11)),
    "oblique and axial": ("RAS", (-8, 12, 17)),
}


@pytest.mark.parametrize("grid", [Grid(30, 26, 12), Grid(37, 20, 12)], ids=["own size", "resampled"])
@pytest.mark.parametrize(("axes", "tilt"), SCANS.values(), ids=SCANS)
def test_a_prediction_lies_where_the_femur_lies_in_the_patient(axes, tilt, grid):
    volume, place = scan_with_a_blob(axes, tilt)
    p = predict_volume(Fake(bright), SOLID, grid, volume)
    np.testing.assert_allclose(centre_of(p), centre_of(Volume(volume.array > 30, volume.affine)), atol=0.3)
    np.testing.assert_allclose(centre_of(p), place, atol=1)


@pytest.mark.parametrize(("axes", "tilt"), SCANS.values(), ids=SCANS)
def test_a_prediction_has_the_scans_own_axes(axes, tilt):
    volume, _ = scan_with_a_blob(axes, tilt)
    p = predict_volume(Fake(bright), SOLID, Grid(37, 20, 12), volume)
    assert p.array.shape == volume.array.shape
    assert p.array.dtype == np.float32
    np.testing.assert_array_equal(p.affine, volume.affine)


@pytest.mark.parametrize(("axes", "tilt"), SCANS.values(), ids=SCANS)
def test_on_its_own_grid_a_prediction_is_exact(axes, tilt):
    volume, _ = scan_with_a_blob(axes, tilt)
    p = predict_volume(Fake(bright), SOLID, Grid(30, 26, 12), volume)
    np.testing.assert_array_equal(p.array > 0.5, volume.array > 30)


@pytest.mark.parametrize("architecture", [FLAT, UNPADDED], ids=["2d", "2d-unpadded"])
def test_2d_networks_see_coronal_slices_of_any_scan(architecture):
    volume, _ = scan_with_a_blob("RAS", (5, 0, 0))
    look = (lambda x: centre_window(1)(x) > 2) if architecture is UNPADDED else bright
    p = predict_volume(Fake(look), architecture, Grid(30, 26, 12), volume)
    np.testing.assert_array_equal(p.array > 0.5, volume.array > 30)


def test_slices_that_the_grid_leaves_out_have_probability_0():
    volume, _ = scan_with_a_blob("PIL", (0, 0, 0))
    p = predict_volume(Fake(lambda x: np.ones(x.shape[:-1])), SOLID, Grid(30, 26, 8), volume)
    np.testing.assert_array_equal(p.array[:, 5, 5], [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0])


def test_flipping_asks_twice_and_averages():
    volume, _ = scan_with_a_blob("ILP", (0, 0, 0))

    def left_half(x):  # a network that calls the image's first columns femur, whatever they show
        p = np.zeros(x.shape[:-1])
        p[:, :, : x.shape[2] // 2] = 1
        return p

    grid = Grid(28, 24, 12)
    np.testing.assert_allclose(predict_volume(Fake(left_half), SOLID, grid, volume, flip=True).array, 0.5, atol=1e-6)
    assert predict_volume(Fake(left_half), SOLID, grid, volume).array.max() == 1


def test_flipping_mirrors_the_answer_back():
    volume, _ = scan_with_a_blob("RAS", (5, 0, 0))
    p = predict_volume(Fake(bright), SOLID, Grid(30, 26, 12), volume, flip=True)
    np.testing.assert_array_equal(p.array > 0.5, volume.array > 30)
    assert set(np.unique(p.array)) == {0, 1}
