"""Train a network on hips that are drawn while it learns, and pack its weights to lie in the library.

No scan of a patient takes part, neither in the training nor in the choice of the threshold. Each woman is painted
once (:mod:`femur_lib.phantom.shares`) and kept in the cache; each step of the training sees one of them in a scan
that nobody has seen before (:mod:`femur_lib.phantom.randomised`).
"""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np

from femur_lib import __version__
from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import checksums, new_folder, read_json, room, write_json
from femur_lib._runtime.words import Progress
from femur_lib.config import Profile, Settings
from femur_lib.dataset import HipDataset
from femur_lib.inference import Segmenter, grid_probability
from femur_lib.metrics.curves import ProbabilityHistogram
from femur_lib.phantom.randomised import random_scan
from femur_lib.phantom.shares import PIXELS, SLICES, VIEW_MM, Shares, draw_varied_person, paint_shares
from femur_lib.preprocessing import z_score
from femur_lib.runs import MEND, load_run
from femur_lib.training import Material, train_on

# What a scan of one hip shows, from the pelvis down to the shaft; voxels of 1.37 x 1.37 x 5.2 mm in the profile drawn.
FIELD_MM = (175.0, 131.0, 146.0)
HELD_OUT = 8  # every eighth woman chooses the threshold instead of training
LOOKS = 3  # scans of each woman held out
BYTES_OF_A_WOMAN = 20 * 2**20


def train_drawn(
    run: str | os.PathLike,
    network: str,
    profile: Profile,
    epochs: int | None = None,
    progress: Progress = print,
) -> Path:
    """Train one run on drawn hips, go on with it, or return it if it is finished; as :func:`femur_lib.training.train`.

    Args:
        run: the folder of the run. ``.femur-cache`` beside it keeps painted women (19 MB each); it may be removed.
        network: its name.
        profile: sizes and recipe, whose ``drawing`` says what differs from scan to scan.
        epochs: fewer or more than the profile says.
        progress: gets a line an epoch.

    Raises:
        DataError: the recipe is none for drawn hips, or the folder holds something else.
    """
    run = Path(run)
    if profile.recipe.base != "drawn":
        raise DataError(
            f"The profile {profile.profile} has the recipe {profile.recipe.base}; drawn was expected.",
            "Choose the profile drawn, or give a cohort to train on.",
        )
    if profile.recipe.loss in ("weighted-cross-entropy", "border-weighted"):
        raise DataError(
            f"The loss {profile.recipe.loss} is weighted by the masks of a training, and drawn ones come during it.",
            "Choose cross-entropy or dice-cross-entropy.",
        )
    if profile.subjects < HELD_OUT:
        raise DataError(
            f"The profile {profile.profile} draws {profile.subjects} subjects; at least {HELD_OUT} were expected.",
            "Ask for more: every eighth chooses the threshold instead of training.",
        )
    if profile.architecture(network).dimensions != 3:
        raise DataError(f"{network} is a 2D network; on drawn hips 3D ones can be trained.", "Choose one of these.")
    chosen = range(HELD_OUT - 1, profile.subjects, HELD_OUT)
    women = [k for k in range(profile.subjects) if k not in chosen]
    described = {
        "training": [f"drawn-{k:03d}" for k in women],
        "validation": [f"drawn-{k:03d}" for k in chosen],
        "source": f"drawn while training, women of seed {profile.seed}",
        "synthetic": True,
    }

    def load(settings: Settings, work: Path) -> Material:
        progress(f"painting {profile.subjects} women, or finding them in the cache")
        coarser = coarseness(settings)
        painted = paint_women(profile.seed, range(profile.subjects), run.parent / ".femur-cache", coarser)
        batches = DrawnHips([painted[k] for k in women], settings, profile.epoch_scans or len(women))
        held_out = DrawnHips([painted[k] for k in chosen], settings, LOOKS * len(chosen), fixed=True)

        def threshold(segmenter: Segmenter) -> float:
            counts = ProbabilityHistogram()
            for number in range(len(held_out.items)):
                image, mask = held_out.volume(number)
                counts.add(mask, grid_probability(segmenter, image))
            return counts.lowest_threshold()

        return Material(batches, held_out, (), threshold, "drawn hips held out", usual_spacing_mm(settings))

    return train_on(run, network, profile, None, epochs, described, load, progress)


def usual_spacing_mm(settings: Settings) -> tuple[float, float, float]:
    """Of the drawn scans' voxels, before chance changes it: the network's grid over ``FIELD_MM``."""
    grid = settings.grid
    rows, columns, slices = (mm / n for mm, n in zip(FIELD_MM, (grid.rows, grid.columns, grid.slices), strict=True))
    return rows, columns, slices


def coarseness(settings: Settings) -> int:
    """How many times as coarse as usual women may be painted: a painted cell is never larger than a scan's voxel."""
    cells = (VIEW_MM[0] / PIXELS, VIEW_MM[1] / PIXELS, VIEW_MM[2] / SLICES)
    return max(1, int(min(mm / cell for mm, cell in zip(usual_spacing_mm(settings), cells, strict=True))))


def paint_women(seed: int, numbers: Sequence[int], cache: str | os.PathLike, coarser: int = 1) -> list[Shares]:
    """Women of a seed, painted side by side (about five seconds each) or found in the cache; read as needed.

    ``coarser`` divides how finely they are painted, along each axis.
    """
    kept = joblib.Memory(cache, mmap_mode="r", verbose=0).cache(_painted)
    asked = [(seed, k, coarser, __version__) for k in numbers]
    missing = [one for one in asked if not kept.check_call_in_cache(*one)]
    with room(Path(cache).parent, len(missing) * BYTES_OF_A_WOMAN // coarser**3):
        jobs = (joblib.delayed(kept)(*one) for one in missing)
        workers = joblib.cpu_count() if len(missing) > coarser**3 else 1  # starting others takes seconds, too
        for _ in joblib.Parallel(n_jobs=workers, return_as="generator_unordered")(jobs):
            pass  # they are in the cache now, and are better read from there than sent
    return [Shares(*kept(*one)) for one in asked]


def _painted(seed: int, k: int, coarser: int, version: str) -> tuple[np.ndarray, np.ndarray]:
    woman = paint_shares(draw_varied_person(seed, k), PIXELS // coarser, SLICES // coarser)
    return woman.shares, woman.labels


class DrawnHips(HipDataset):
    """The batches of one epoch, each scan drawn from its number and the epoch: none is ever seen twice.

    Args:
        women: painted ones.
        settings: of the training.
        scans: how many an epoch has.
        fixed: the same scans in every epoch, and no augmentation, for validation.
    """

    def __init__(self, women: Sequence[Shares], settings: Settings, scans: int, fixed: bool = False):
        augmentation, seed = ((), None) if fixed else (settings.recipe.augmentation, settings.seed)
        super().__init__([], settings.architecture, settings.batch_size, augmentation, seed)
        self.items = [(k, 0) for k in range(scans)]
        self.women, self.settings, self.fixed = women, settings, fixed
        grid = settings.grid
        # Of the network's grid a part: steps cost less, and what lies at the image's edge differs from scan to scan.
        self.shape = (grid.rows * 7 // 8, grid.columns, grid.slices * 6 // 7)

    def volume(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Image, z-scored, and mask of one scan of the current epoch; (rows, columns, slices)."""
        seed = self.settings.seed
        rng = np.random.default_rng((seed, i) if self.fixed else (seed, self.epoch, i))
        woman = self.women[i % len(self.women) if self.fixed else int(rng.integers(len(self.women)))]
        drawing = self.settings.recipe.drawing
        image, mask = random_scan(woman, rng, self.shape, usual_spacing_mm(self.settings), drawing)
        return z_score(image), mask


def pack(run: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Copy a finished run into a new folder, its weights rounded to half precision and compressed: half the size.

    It is read like any run.
    """
    folder, out = Path(run), Path(out)
    model = load_run(folder, "float32").model
    model.set_weights([w.astype(np.float16).astype(np.float32) for w in model.get_weights()])
    record = read_json(folder / "run.json", MEND)
    with new_folder(out) as half_written:
        packed = half_written / "model.keras"
        model.save(packed)
        with zipfile.ZipFile(packed) as whole:
            parts = {name: whole.read(name) for name in whole.namelist()}
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as smaller:
            for name, content in parts.items():
                smaller.writestr(name, content)
        (half_written / "history.csv").write_bytes((folder / "history.csv").read_bytes())
        write_json(
            half_written / "run.json", record | {"files": checksums(half_written, ("model.keras", "history.csv"))}
        )
    return out
