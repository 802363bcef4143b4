"""Comparisons of what notebooks 01 to 04 write out with what the library does; see taught.py."""

from itertools import product
from types import SimpleNamespace

import keras
import nibabel as nib
import numpy as np
import pandas as pd
from conftest import AXIS_ORDERS, affine_of
from taught import checks, rng

from femur_lib.architecture import Architecture, unpadded_geometry
from femur_lib.callbacks import PaperEarlyStopping
from femur_lib.costs import cost
from femur_lib.inference import mirror, nine_patches, size_for_output
from femur_lib.losses import WeightedCrossEntropy, class_weights
from femur_lib.microscope import field_in_patch
from femur_lib.networks import unet
from femur_lib.receptive_field import receptive_field
from femur_lib.volumes import Volume, central_slices, to_stack, z_score

SPACINGS = ((1.0, 1.0, 1.0), (0.234, 0.234, 1.5), (3.0, 0.5, 1.25))

# 01: millimetres, orientation, brightness, slices.


@checks("nb01-affine-by-hand", "axis=0", "axis=1")
def _(taught):
    for axes, spacing in product(AXIS_ORDERS[::5], SPACINGS):
        file, affine = SimpleNamespace(shape=(5, 8, 3)), affine_of(axes, spacing, (4, -7, 12), (1, 2, 3))
        found = taught(A=affine, file=file)
        assert np.allclose(found.place_mm, nib.affines.apply_affine(affine, (2, 4, 1)))
        assert np.allclose(found.spacing_mm, Volume(np.zeros(file.shape), affine).spacing_mm)


@checks("nb01-flip", "image.array.shape[axis] - 1", "image.array.shape[axis]")
def _(taught):
    for axes in AXIS_ORDERS:
        image = Volume(rng().normal(size=(3, 1, 4)), affine_of(axes, (1, 2, 3), (4, -7, 12), (1, 2, 3)))
        found = taught(image=image, A=image.affine)
        honest, forgotten = to_stack(found.honest), to_stack(found.forgotten)
        assert np.array_equal(honest.array, to_stack(image).array)
        assert np.allclose(honest.affine, to_stack(image).affine)
        assert np.array_equal(forgotten.array, to_stack(image).array[:, ::-1])


@checks("nb01-z-score", ".std()", ".var()")
def _(taught):
    for shape, sd in product([(2, 1, 1), (7, 5, 3), (1, 64, 2)], [1e-3, 1, 5e3]):
        array = rng().normal(300, sd, shape).astype(np.float32)
        assert np.allclose(taught(stack=Volume(array, np.eye(4))).by_hand, z_score(array), atol=1e-4)


@checks("nb01-central", "// 2", "// 3")
def _(taught):
    central = taught().central
    for available, wanted in product(range(1, 64), repeat=2):
        kept = central_slices(available, wanted)
        assert central(available, wanted) == (kept.start, kept.stop)


# 02: an unpadded network's sizes, crops, mirror and patches.


@checks("nb02-convolution-code", "windows * kernel", "windows * kernel[::-1]")
def _(taught):
    for shape in ((3, 3), (4, 9), (17, 5)):
        picture, kernel = rng().normal(size=shape), rng().normal(size=(3, 3))
        theirs = keras.ops.conv(picture[None, ..., None], kernel[..., None, None], padding="valid")
        assert np.allclose(taught(picture=picture, kernel=kernel).by_hand, theirs[0, ..., 0], atol=1e-5)


@checks("nb02-sizes", "(sizes[-1] - 4) // 2]", "(sizes[-1] - 3) // 2]")
def _(taught):
    follow_sizes = taught().follow_sizes
    for n, levels in product(range(5, 700, 3), (1, 2, 3, 4, 5)):
        assert max(follow_sizes(n, levels)[-1], 0) == output_or_none(n, levels)


def output_or_none(n: int, levels: int) -> int:
    """What the library says that comes out; 0 where it says that nothing does."""
    try:
        return unpadded_geometry(n, levels).output
    except ValueError as error:
        if "no output" not in str(error):
            raise
        return 0


@checks("nb02-coordinates", "mean(1)", "max(1)")
def _(taught):
    follow_coordinates = taught().follow_coordinates
    for levels in (1, 2, 3, 4):
        for n in range(size_for_output(1, levels), 400, 7):
            geometry, (positions, table) = unpadded_geometry(n, levels), follow_coordinates(n, levels)
            assert [start for start, _ in reversed(geometry.crops)] == table["crop: same place"].tolist()
            assert (positions[0], len(positions)) == (geometry.before, geometry.output)


@checks("nb02-mirror-by-hand", "line[1 : before + 1]", "line[:before]")
def _(taught):
    mirror_by_hand, line = taught().mirror_by_hand, rng().normal(size=6)
    for before, after in product(range(6), repeat=2):
        margin = SimpleNamespace(before=before, after=after)
        theirs = mirror(line[None, :, None, None], margin, SimpleNamespace(before=0, after=0))
        assert np.array_equal(mirror_by_hand(line, before, after), theirs[0, :, 0, 0])


@checks("nb02-nine-by-hand", "(0, lost_c // 2, lost_c)", "(0, lost_c // 2 + 1, lost_c)")
def _(taught):
    for height, width, levels in ((60, 77, 2), (41, 40, 1), (143, 150, 3)):
        rows, columns = unpadded_geometry(height, levels), unpadded_geometry(width, levels)

        def answer(patch, rows=rows, columns=columns):  # what it says depends on the patch, so that an average matters
            inner = np.s_[:, rows.before : rows.before + rows.output, columns.before : columns.before + columns.output]
            return patch[inner] * (1 + patch[:, :1, :1])

        model, images = SimpleNamespace(predict_on_batch=answer), rng().normal(size=(2, height, width, 3))
        mine, _ = taught(rows=rows, columns=columns).nine_by_hand(model, mirror(images, rows, columns))
        assert np.allclose(mine, nine_patches(model, images, levels), atol=1e-5)


@checks("nb02-microscope-field", "2 * last + 1 + 4", "2 * last + 4")
def _(taught):
    for at, levels in product(range(40), (1, 2, 3, 4, 5)):
        assert taught(levels=levels).field(at) == field_in_patch(at, levels)


@checks("nb02-one-pass", "< n:", "<= n:")
def _(taught):
    for levels, n in product((1, 2, 3, 4), range(140, 300, 7)):  # smaller ones have no output at all to begin with
        if levels < 4 or n > 184:
            assert taught(levels=levels).enough(n) == size_for_output(n, levels)


# 03: convolution, sizes, costs, receptive field of a padded network.


@checks("nb03-convolve", "kernel).sum()", "kernel[::-1]).sum()")
def _(taught):
    convolve = taught().convolve
    for shape, width in product([(3, 5, 3), (6, 5, 4)], [(1, 1, 1), (3, 3, 3), (3, 1, 2)]):
        volume, kernel = rng().normal(size=shape), rng().normal(size=width)
        theirs = keras.ops.conv(volume[None, ..., None], kernel[..., None, None], padding="valid")
        assert np.allclose(convolve(volume, kernel), theirs[0, ..., 0], atol=1e-4)


@checks("nb03-feature-maps", "< network.in_plane_levels", "<= network.in_plane_levels")
def _(taught):
    for levels, flat, size in ((1, 0, (2, 4, 6)), (2, 1, (8, 4, 2)), (3, 2, (16, 24, 6))):
        architecture = Architecture(dimensions=3, features=2, levels=levels, in_plane_levels=flat)
        network = unet(architecture)
        names = [*(f"down{n}_conv2" for n in range(levels)), "centre_conv1"]
        stages = keras.Model(network.input, [network.get_layer(name).output for name in names])
        shapes = [s.shape[1:] for s in stages.compute_output_spec(keras.KerasTensor((1, *size, 1)))]
        assert taught().feature_maps(architecture, size).to_records(index=False).tolist() == shapes


@checks("nb03-bill-code", "2 * f[level]", "f[level]")
def _(taught):
    bill = taught().bill
    for features, levels, rates in product((1, 6), (1, 2, 4), ((1,), (1, 3), (1, 2, 4, 8))):
        theirs = cost(Architecture(3, features, levels, dilation_rates=rates), (48, 32, 16))
        mine = bill(features, levels, rates, (48, 32, 16)).sum()
        assert (mine.parameters, mine.multiplications) == (theirs.weights, theirs.multiplications)


@checks("nb03-memory-code", "2 * table.bytes", "table.bytes")
def _(taught):
    training_gib = taught(after=("nb03-bill-code",)).training_gib
    for features, levels, rates in product((8, 32), (2, 4), ((1,), (1, 2, 4, 8))):
        size = (256, 128, 48)
        theirs = cost(Architecture(3, features, levels, dilation_rates=rates), size).training_bytes() / 2**30
        assert 0.7 * theirs < training_gib(features, levels, rates, size) < theirs  # a lower bound, and not far below


@checks("nb03-field-code", "(high + 2) // 2", "(high + 1) // 2")
def _(taught):
    sees = taught().sees
    for levels, rates in product((1, 2, 3, 4, 5), ((1,), (1, 2), (8, 1, 4))):
        for flat, voxel in product(range(levels), (0, 1, 7, 100)):
            a = Architecture(3, 1, levels, dilation_rates=rates, in_plane_levels=flat)
            along_rows, _, across = receptive_field(a, (voxel,) * 3)
            assert sees(voxel, levels, max(rates)) == along_rows
            assert sees(voxel, levels, 1, flat) == across


@checks("nb03-taps", ">= 0", "> 0")
def _(taught):
    taps_inside = taught().taps_inside
    for length, rate in product((1, 2, 3, 7, 16), (1, 2, 3, 8)):
        ones = np.ones((1, length, 1), np.float32)
        theirs = keras.ops.conv(ones, np.ones((3, 1, 1), np.float32), padding="same", dilation_rate=rate)
        assert np.isclose(taps_inside(length, rate), np.mean(theirs) / 3)


# 04: weights, loss, early stopping.


@checks("nb04-weights", "1 / (1 - share), 1 / share", "1 / share, 1 / (1 - share)")
def _(taught):
    for share in (0.01, 0.4, 0.9):
        masks = [(rng().random(shape) < share).astype(np.uint8) for shape in ((9, 7, 5), (40, 1, 3), (30, 20, 2))]
        found = taught(samples=[SimpleNamespace(mask=mask) for mask in masks])
        assert np.allclose((found.w_background, found.w_femur), class_weights(masks))


@checks("nb04-loss-code", "w_femur, w_background)", "w_background, w_femur)")
def _(taught):
    for shape, share in product([(1, 1, 1), (5, 3, 2), (16, 9, 4)], (0, 0.1, 1)):
        truth, p = (rng().random(shape) < share).astype(np.uint8), rng().uniform(0.001, 0.999, shape)
        theirs = WeightedCrossEntropy(1.1, 9.5)(truth[None], np.stack([1 - p, p], axis=-1)[None].astype(np.float32))
        assert np.allclose(taught().weighted_cross_entropy(truth, p, 1.1, 9.5), theirs, rtol=1e-4)


@checks("nb04-stopping-code", "best, waited = value, 0\n", "waited = 0\n")
def _(taught):
    model = keras.Sequential()
    for first, patience, length in product((0, 1, 5), (1, 2, 4), (1, 6, 40)):
        steady = [0.9 + step * np.arange(length) for step in (0, 6e-5, 1)]  # not, too slowly and always better
        for values in (rng().random(length), rng().integers(0, 3, length) / 4, *steady):
            rule = PaperEarlyStopping(
                pd.DataFrame(), monitor="val_accuracy", mode="max", min_delta=1e-4, patience=patience,
                start_from_epoch=first,
            )  # fmt: skip
            rule.had_stopped(model)  # no: it begins
            trained = 0
            while trained < length and not model.stop_training:
                rule.on_epoch_end(trained, {"val_accuracy": values[trained]})
                trained += 1
            assert taught().stops_after(values, first, patience) == trained
