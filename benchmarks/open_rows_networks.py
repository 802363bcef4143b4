"""Six claims that need a network of another kind, or another training (PAPER.md), at the size of the workshop study.

    taskset -c 1 nice python benchmarks/open_rows_networks.py OUT [ROW …]

24 synthetic women, the profile ``workshop``, fold 0, two seeds of each training. OUT may be the folder of open_rows.py,
whose trainings "as in the study" are then taken as they are.

as in the study  `2d-f64-l4` and `3d-f32-l4`
I5, patches      a network looks at a patch of three slices and says what its middle voxel is: two convolutions a level,
                 pooling, two dense layers. The patches have 16 or 36 pixels a side, 48 000 are learned from, and half
                 of them lie on the femur
I9, in a row     `3d-f32-l4` on half the rows and columns, a statistical shape model of what it marked, and `3d-f32-l4`
                 on the box of that shape; 10 epochs each, which together are as many steps as in the study
D6, regions      `2d-f64-l4` and `3d-f32-l4` with four classes by the exact labels: the femur above the cut, the rest of
                 it, the pelvis, and background; Eq. 1 for four classes, 6 epochs
D13, dilation    `3d-f32-l3`, which has a quarter of the weights, with dilated layers that let it see as far
D14, mirrored    `2d-unpadded-f64-l4` on nine mirrored patches of each slice for 1 epoch, and on the slices as they are
                 for 9, which are as many steps
D21, a search    six trials of `femur search` for `2d-unpadded-f64-l4`, 3 epochs each, and trainings with what it chose,
                 9 epochs each; beside them those of D14 with the slices as they are

All are scored on the held-out women, without and with post-processing. A second start goes on with what is there.
Writes to OUT open_rows_networks.csv, one row a training, held-out woman, region and way of post-processing;
search.csv, one row a trial; reach.csv, the weights of networks and how far they see; true_regions.csv, in how many
pieces the true regions are; epochs.csv, the seconds of an epoch with and without mirrored patches. Seconds are those of
one core, so the process should be kept on one.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from femur_lib import training, unet
from femur_lib._runtime import machine
from femur_lib._runtime.backend import keras
from femur_lib._runtime.files import write_csv, write_json
from femur_lib.architecture import parse_network, unpadded_geometry
from femur_lib.augmentation import flip
from femur_lib.cohort import Cohort, folds, new_cohort, read_cohort, read_subject
from femur_lib.config import Profile, load_profile, resolve
from femur_lib.dataset import HipDataset, Sample, load_samples
from femur_lib.evaluation import score
from femur_lib.inference import Segmenter, largest_component, mirror, patch_starts, predict_volume
from femur_lib.lab.search import search
from femur_lib.metrics.curves import ProbabilityHistogram
from femur_lib.phantom.cohort import exact_labels_path, make_cohort
from femur_lib.preprocessing import Grid, mask_to_grid, three_slices
from femur_lib.runs import Run, load_run
from femur_lib.training import train
from femur_lib.volumes import Volume, central_slices, read_labels

FLAT, DEEP, SHALLOW, UNPADDED = "2d-f64-l4", "3d-f32-l4", "3d-f32-l3", "2d-unpadded-f64-l4"
PROFILE = load_profile("workshop")
REGIONS = {1: "femur above the cut", 2: "rest of the femur", 3: "pelvis"}
layers, ops = keras.layers, keras.ops


def settings(seed: int, **other: Any) -> Profile:
    """The workshop's, with another seed of the training and what else differs."""
    return PROFILE.changed(recipe={"base": "paper"}, training_seed=seed, **other)


def rows(name: str, region: str, true: Volume, mask: np.ndarray) -> Iterator[dict]:
    """Scores of one mask of a woman, as it is and with its largest piece alone; and how many pieces both have."""
    found, whole = pieces(mask), pieces(true.array)
    for largest in (False, True):
        scored = score(true, replace(true, array=largest_component(mask) if largest else mask))
        of_row = {"participant_id": name, "region": region, "largest_component": largest}
        yield of_row | {"pieces": found, "true_pieces": whole} | scored


def pieces(mask: np.ndarray) -> int:
    """How many components a mask has."""
    return ndimage.label(mask, np.ones((3, 3, 3)))[1]


def scored(segmenter: Segmenter, cohort: Cohort, names: tuple[str, ...]) -> list[dict]:
    """Scores of a network on the women of those names, and the seconds that one of them took."""
    found = []
    for name in names:
        image, mask = read_subject(cohort[name])
        began = time.process_time()
        probability = predict_volume(segmenter, image).array
        seconds = time.process_time() - began
        found += [row | {"subject_s": seconds} for row in rows(name, "femur", mask, probability > segmenter.threshold)]
    return found


def with_threshold(segmenter: Segmenter, cohort: Cohort, names: tuple[str, ...]) -> Segmenter:
    """With the threshold that the women of those names choose, as in the paper."""
    counts = ProbabilityHistogram()
    for name in names:
        image, mask = read_subject(cohort[name])
        counts.add(mask.array, predict_volume(segmenter, image).array)
    return replace(segmenter, threshold=counts.best_threshold())


def of_run(run: Run, cohort: Cohort, **more: Any) -> list[dict]:
    """Scores of a training of the library, and what its network is like."""
    like = {"weights": run.model.count_params(), "epochs": run.record["epochs_trained"]} | more
    return [row | like for row in scored(run.segmenter, cohort, tuple(run.record["validation"]))]


# I5: a network on patches


@dataclass(frozen=True)
class OfPatches:
    """Answers for whole slices, mirrored outwards, as the network on patches does voxel by voxel."""

    network: keras.Model
    side: int

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) slices to (N, H, W, 2) probabilities."""
        return self.network.predict_on_batch(around(x, self.side))


def around(images: np.ndarray, side: int) -> np.ndarray:
    """Slices (N, H, W, C) mirrored outwards, so that each pixel lies amid a patch of that side."""
    before, after = side // 2, side - 1 - side // 2
    return np.pad(images, ((0, 0), (before, after), (before, after), (0, 0)), mode="reflect")


def of_patches(side: int, whole: bool) -> keras.Model:
    """The network on patches: two convolutions a level, pooling, and dense layers for what is then 6 x 6 pixels.

    ``whole``: the same weights for a whole slice. Instead of pooling in steps of two, each layer takes its pixels
    twice as far apart as the layer above it did.
    """
    x = inputs = keras.Input((None, None, 3) if whole else (side, side, 3))
    apart, maps, left = 1, 8, side
    while True:
        for _ in range(2):
            x = layers.Conv2D(maps, 3, activation="relu", dilation_rate=apart)(x)
        left = (left - 4) // 2
        pool = layers.Lambda(partial(highest_of_four, apart=apart)) if whole else layers.MaxPooling2D()
        x = pool(x)
        apart, maps = apart * (2 if whole else 1), 2 * maps
        if left == 6:
            break
    x = layers.Conv2D(64, left, activation="relu", dilation_rate=apart)(x)
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="softmax")(x))


def highest_of_four(x, apart: int):
    """The highest of each pixel and its three neighbours to the right and below, so far apart."""
    x = ops.maximum(x[:, :-apart], x[:, apart:])
    return ops.maximum(x[:, :, :-apart], x[:, :, apart:])


def some_patches(samples: list[Sample], side: int, batches: int, size: int, seed: int) -> Iterator[tuple]:
    """Batches of patches, half of femur and half of background, and what the voxel amid each of them is."""
    rng = np.random.default_rng(seed)
    wide = [around(np.moveaxis(sample.image, 2, 0)[..., None], side)[..., 0] for sample in samples]
    places = [[np.argwhere(sample.mask == label) for sample in samples] for label in (0, 1)]
    for _ in range(batches):
        images, labels = np.empty((size, side, side, 3), np.float32), np.arange(size) % 2
        for j, label in enumerate(labels):
            i = rng.integers(len(samples))
            r, c, k = places[label][i][rng.integers(len(places[label][i]))]
            patch = three_slices(np.moveaxis(wide[i][:, r : r + side, c : c + side], 0, 2), k)
            images[j] = patch[:, ::-1] if rng.random() < 0.5 else patch
        yield images, labels[:, None, None]


def patches(side: int, cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """Train and score a network on patches."""
    learn, held_out = split(cohort)
    grid, steps, size = PROFILE.grid(2), 750, 64
    keras.utils.set_random_seed(seed)
    model = of_patches(side, whole=False)
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.process_time()
    for images, labels in some_patches(load_samples(cohort, learn, grid), side, steps, size, seed):
        model.train_on_batch(images, labels)
    trained = time.process_time() - began
    (images, _), *_ = some_patches(load_samples(cohort, held_out[:1], grid), side, 1, 512, seed)
    began = time.process_time()
    one_by_one = model.predict_on_batch(images)
    a_patch = (time.process_time() - began) / len(images)
    whole = of_patches(side, whole=True)
    whole.set_weights(model.get_weights())
    assert np.allclose(whole.predict_on_batch(images), one_by_one, atol=1e-4)
    segmenter = Segmenter(OfPatches(whole, side), parse_network("2d-f8-l3"), grid)
    segmenter = with_threshold(segmenter, cohort, held_out)
    record(out, cohort, seed, side=side, patches=steps * size, threshold=segmenter.threshold, seconds=round(trained, 1))
    a_scan = a_patch * grid.rows * grid.columns * grid.slices
    like = {"weights": model.count_params(), "patchwise_s": a_scan}
    return [row | like for row in scored(segmenter, cohort, held_out)]


# I9: a step between two networks


def two_in_a_row(cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """A network finds the femur, a shape model makes a shape of it, and a second network segments the shape's box."""
    learn, held_out = split(cohort)
    coarse = settings(seed, grid_3d=(36, 36, 32), epochs=10)
    first = load_run(train(cohort, out.with_name(f"{out.name}-first"), DEEP, coarse, 0)).segmenter
    shapes = np.stack([depth(read_subject(cohort[name])[1].array) for name in learn])
    mean = shapes.mean(0)
    modes = np.linalg.svd(shapes - mean, full_matrices=False)[2][:8]  # half as many as there are women
    boxes = {}
    for s in cohort.subjects:
        image = read_subject(s)[0]
        found = largest_component(predict_volume(first, image).array > first.threshold)
        shape = mean + (depth(found) - mean) @ modes.T @ modes
        inside = np.argwhere(shape.reshape(*(n // 2 for n in found.shape[:2]), -1) > 0)[:, :2] * 2
        low, high = inside.min(0) - 8, inside.max(0) + 10  # 8 pixels of room on every side
        boxes[s.id] = tuple(slice(max(0, a), min(n, b)) for a, b, n in zip(low, high, found.shape, strict=False))
    cut = out.with_name(f"{out.name}-boxes")
    if not cut.exists():
        with new_cohort(cut, "the boxes of a shape model", cohort.source, synthetic=True) as add:
            for s in cohort.subjects:
                image, mask = read_subject(s)
                affine, box = image.affine.copy(), boxes[s.id]
                affine[:3, 3] += affine[:3, :2] @ [part.start for part in box]
                add(s.id, s.patient, s.side, s.group, Volume(image.array[box], affine), mask.array[box])
    of_boxes = read_cohort(cut)
    second = load_run(train(of_boxes, out, DEEP, settings(seed, epochs=10), 0)).segmenter
    found = []
    for name in held_out:
        _, mask = read_subject(cohort[name])
        whole = np.zeros(mask.array.shape, bool)
        whole[boxes[name]] = predict_volume(second, read_subject(of_boxes[name])[0]).array > second.threshold
        lost = 1 - mask.array[boxes[name]].sum() / mask.array.sum()
        found += [row | {"outside_box": lost} for row in rows(name, "femur", mask, whole)]
    return found


def depth(mask: np.ndarray) -> np.ndarray:
    """How deep each voxel of every second row and column lies in the mask, negative outside, in one line of numbers."""
    inside = mask[::2, ::2] > 0
    apart = ndimage.distance_transform_edt
    return (apart(inside) - apart(~inside)).ravel() if inside.any() else np.full(inside.size, -1.0)


# D6: several regions


@dataclass(frozen=True)
class OfRegion:
    """One class of a network against all others."""

    network: keras.Model
    label: int

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """As a network of two classes answers."""
        p = self.network.predict_on_batch(x)[..., self.label]
        return np.stack([1 - p, p], axis=-1)


def regions(network: str, cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """Train a network for all regions at once, and score each."""
    learn, held_out = split(cohort)
    s = resolve(settings(seed), network)
    keras.utils.set_random_seed(seed)
    two = unet.unet(s.architecture)
    kind = layers.Conv2D if s.architecture.dimensions == 2 else layers.Conv3D
    logits = kind(1 + len(REGIONS), 1, name="logits", dtype="float32")(two.get_layer("logits").input)
    model = keras.Model(two.input, layers.Softmax(dtype="float32")(logits))
    samples = {name: of_labels(cohort, name, s.grid) for name in (*learn, *held_out)}
    batches = HipDataset(
        [samples[n] for n in learn], s.architecture, s.batch_size, s.recipe.augmentation, seed,
        passes=s.passes(len(learn)),
    )  # fmt: skip
    checks = HipDataset([samples[n] for n in held_out], s.architecture, s.batch_size)
    counts = sum(np.bincount(samples[n].mask.ravel(), minlength=1 + len(REGIONS)) for n in learn)
    weights = ops.convert_to_tensor((counts.sum() / counts).astype("float32"))

    def loss(y_true, y_pred):
        y_true = ops.cast(y_true, "int32")
        return ops.take(weights, y_true) * keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

    model.compile(keras.optimizers.Adam(PROFILE.learning_rate), loss, metrics=["accuracy"])
    best = out.with_suffix(".weights.h5")
    keep = keras.callbacks.ModelCheckpoint(
        best, "val_accuracy", mode="max", save_best_only=True, save_weights_only=True
    )
    tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch", epoch))
    log = model.fit(batches, validation_data=checks, epochs=6, callbacks=[tell, keep], verbose=0, shuffle=False)
    model.load_weights(best)
    best.unlink()
    found = []
    for name in held_out:
        image, _ = read_subject(cohort[name])
        truth = read_labels(exact_labels_path(cohort.root, name)).array
        each = [Segmenter(OfRegion(model, label), s.architecture, s.grid) for label in REGIONS]
        p = np.stack([predict_volume(segmenter, image).array for segmenter in each])
        answer = np.argmax(np.concatenate([1 - p.sum(0, keepdims=True), p]), axis=0)
        seen = central_slices(truth.shape[2], s.grid.slices)  # the pelvis goes on beyond them
        for label, region in REGIONS.items():
            found += rows(name, region, Volume(truth[..., seen] == label, image.affine), answer[..., seen] == label)
    history = {name: np.round(values, 4).tolist() for name, values in log.history.items()}
    record(out, cohort, seed, network=network, history=history)
    return found


def true_regions(cohort: Cohort) -> pd.DataFrame:
    """In how many pieces each true region of each woman is, and the share of it that the largest piece leaves out."""
    found = []
    for s in cohort.subjects:
        labels = read_labels(exact_labels_path(cohort.root, s.id)).array
        for label, region in REGIONS.items():
            true = labels == label
            left_out = 1 - largest_component(true).sum() / true.sum()
            found.append({"participant_id": s.id, "region": region, "pieces": pieces(true), "left_out": left_out})
    return pd.DataFrame(found)


def of_labels(cohort: Cohort, name: str, grid: Grid) -> Sample:
    """A woman on the grid with all of her labels."""
    (sample,) = load_samples(cohort, [name], grid)
    labels = np.asarray(read_labels(exact_labels_path(cohort.root, name)).array)
    on_grid = np.zeros(sample.image.shape, np.uint8)
    for label in reversed(REGIONS):  # the femur above the cut last: it is what the networks are about
        on_grid[mask_to_grid((labels == label).astype(np.uint8), grid) > 0] = label
    return replace(sample, mask=on_grid)


# D13: dilation elsewhere


RATES = {"down1_conv1": 2, "down1_conv2": 4, "centre_conv1": 2, "centre_rate1": 4}
plain_block = unet._block


def dilated_block(x, a, maps, kernel, name, dilation=1):
    """As a block of the U-net, with pixels further apart in the layers of ``RATES``, within slices."""
    rate = RATES.get(name, 1)
    return plain_block(x, a, maps, kernel, name, (rate, rate, 1) if rate > 1 else dilation)


def dilated_layers(cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """A network with one pooling less, and with dilated layers."""
    unet._block = dilated_block
    try:
        run = load_run(train(cohort, out, SHALLOW, settings(seed), 0))
        return of_run(run, cohort)
    finally:
        unet._block = plain_block


def reach(model: keras.Model) -> int:
    """How many pixels of a row change their answer with the pixel in the middle of a slice."""
    of_slice = (192, 192, 3) if len(model.output_shape) == 4 else (192, 192, 16, 1)
    dark, spot = np.zeros((2, 1, *of_slice), np.float32)
    spot[0, 96, 96] = 1000
    other = keras.models.clone_model(keras.Model(model.input, model.get_layer("logits").output))
    other.set_weights([np.abs(w) for w in model.get_weights()])  # so that nothing cancels, and no ReLU is silent
    changed = np.abs(other.predict_on_batch(spot) - other.predict_on_batch(dark))
    return int(np.ptp(np.flatnonzero(changed.max((0, 1, *range(3, changed.ndim)))))) + 1


def how_far() -> pd.DataFrame:
    """How many weights networks have, and how far they see; nothing is trained for this."""
    found = []
    for network, dilate in ((FLAT, False), (DEEP, False), (SHALLOW, False), (SHALLOW, True)):
        unet._block = dilated_block if dilate else plain_block
        model = unet.unet(PROFILE.architecture(network))
        found.append({"network": network, "dilated": dilate, "weights": model.count_params(), "sees": reach(model)})
    unet._block = plain_block
    return pd.DataFrame(found)


# D14: mirrored patches in training


class MirroredPatches(HipDataset):
    """Nine patches of each mirrored slice to learn from; to validate, the slices as they are."""

    def __init__(self, samples, architecture, batch_size, augmentation=(), seed=None, border_weights=False, passes=1):
        super().__init__(samples, architecture, batch_size, augmentation, seed, border_weights, passes)
        if seed is not None:
            self.geometry = unpadded_geometry(self.samples[0].image.shape[0], architecture.levels)
            starts = patch_starts(self.geometry)
            self.items = [(i, k, r, c) for i, k in self.items for r in starts for c in starts]

    def _item(self, item, rng):
        if self.seed is None:
            return super()._item(item, rng)
        i, k, r, c = item
        image, mask = three_slices(self.samples[i].image, k), self.samples[i].mask[..., k : k + 1]
        image, mask = flip(image, mask, rng)
        side = self.geometry.size
        wide = mirror(np.concatenate([image, mask], axis=2)[None], self.geometry, self.geometry)[0]
        patch = wide[r : r + side, c : c + side]
        return patch[..., :3], patch[self.seen][..., 3].astype(np.uint8)


def mirrored(nine: bool, cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """An unpadded network that learns from mirrored patches, or from the slices as they are, in as many steps."""
    kind = MirroredPatches if nine else HipDataset
    profile = settings(seed, epochs=1 if nine else 9)
    training.HipDataset = kind
    try:
        run = load_run(train(cohort, out, UNPADDED, profile, 0))
    finally:
        training.HipDataset = HipDataset
    return of_run(run, cohort)


def how_long(cohort: Cohort) -> pd.DataFrame:
    """Steps and seconds of an epoch, with the slices as they are and with nine mirrored patches of each."""
    s, found = resolve(settings(0), UNPADDED), []
    samples = load_samples(cohort, split(cohort)[0], s.grid)
    model = unet.unet(s.architecture, s.input_size())
    model.compile("adam", "sparse_categorical_crossentropy")
    for kind in (HipDataset, MirroredPatches):
        batches = kind(samples, s.architecture, s.batch_size, s.recipe.augmentation, s.seed)
        model.train_on_batch(*batches[0])
        began = time.process_time()
        for number in range(20):
            model.train_on_batch(*batches[number])
        a_step = (time.process_time() - began) / 20
        nine = kind is MirroredPatches
        found.append({"nine_patches": nine, "steps": len(batches), "step_s": a_step, "epoch_s": a_step * len(batches)})
    return pd.DataFrame(found)


# D21: a search


def searched(cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """Search for F and the learning rate without the women who will be scored, and train with what was found."""
    folder = out.parent / "search"
    trials = search(cohort, folder, UNPADDED, settings(0, epochs=3), 0, 6, (32, 64, 96), (1e-4, 1e-2))
    best = trials.iloc[0]
    write_csv(out.parent / "search.csv", trials.round(5))
    network, rate = best.run.split("-rate")
    run = load_run(train(cohort, out, network, settings(seed, epochs=9, learning_rate=float(rate)), 0))
    return of_run(run, cohort, learning_rate=float(rate))


def as_in_the_study(network: str, cohort: Cohort, out: Path, seed: int) -> list[dict]:
    """The paper's recipe at the workshop's size."""
    run = load_run(train(cohort, out, network, settings(seed), 0))
    return of_run(run, cohort, learning_rate=PROFILE.learning_rate)


ARMS = {  # by the name of an arm: its row of PAPER.md, network, and training
    "as in the study": ("", FLAT, partial(as_in_the_study, FLAT)),
    "as in the study, 3D": ("", DEEP, partial(as_in_the_study, DEEP)),
    "patches of 16 pixels": ("I5", "patches", partial(patches, 16)),
    "patches of 36 pixels": ("I5", "patches", partial(patches, 36)),
    "two in a row": ("I9", DEEP, two_in_a_row),
    "nine mirrored patches": ("D14", UNPADDED, partial(mirrored, True)),
    "slices as they are": ("D14", UNPADDED, partial(mirrored, False)),
    "search": ("D21", UNPADDED, searched),
    "regions in 2D": ("D6", FLAT, partial(regions, FLAT)),
    "regions in 3D": ("D6", DEEP, partial(regions, DEEP)),
    "dilated layers": ("D13", SHALLOW, dilated_layers),
}


def split(cohort: Cohort) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The women to learn from, and those held out."""
    fold = folds(cohort, PROFILE.folds, PROFILE.seed)[0]
    return fold.training, fold.validation


def record(out: Path, cohort: Cohort, seed: int, **more: Any) -> None:
    """Write what a training that is not the library's learned from, how, and on what it ran."""
    learn, held_out = split(cohort)
    ran_on = {"backend": machine.backend(), "versions": machine.versions(), "devices": machine.devices()}
    write_json(out.with_suffix(".json"), {"seed": seed, "training": learn, "validation": held_out} | more | ran_on)


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", nargs="*", default=[row for row, *_ in ARMS.values()], help="such as I5")
    asked = parser.parse_args()
    cohort = make_cohort(asked.out / "cohort", PROFILE.subjects, "workshop", progress=print)
    write_csv(asked.out / "true_regions.csv", true_regions(cohort).round(4))
    write_csv(asked.out / "reach.csv", how_far())
    write_csv(asked.out / "epochs.csv", how_long(cohort).round(3))
    tables = []
    for arm, (row, network, trained) in ARMS.items():
        if row and row not in asked.rows:
            continue
        for seed in (0, 1):
            what = arm.removesuffix(", 3D")
            run = asked.out / f"{what.replace(' ', '-')}-{network}-seed{seed}"
            table = asked.out / f"networks-{run.name}.csv"
            if not table.exists():
                print(arm, seed, flush=True)
                found = pd.DataFrame(trained(cohort, run, seed))
                write_csv(table, found.assign(row=row, arm=what, network=network, seed=seed))
                if (run / "run.json").exists():
                    shutil.copyfile(run / "run.json", run.with_suffix(".json"))
            tables.append(pd.read_csv(table))
    found = pd.concat(tables, ignore_index=True)
    first = ["row", "arm", "network", "seed", "participant_id", "region", "largest_component"]
    write_csv(asked.out / "open_rows_networks.csv", found[first + [c for c in found if c not in first]].round(4))
    means = found.groupby(["network", "arm", "region", "largest_component", "seed"], sort=False)
    print(means[["dice", "precision", "recall", "asd_mm", "pieces"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
