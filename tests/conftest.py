"""What the tests share: affines of every kind, masks drawn in text, tiny files and a tiny cohort."""

import gzip
import importlib.util
import itertools
import json
import os
import shutil
import statistics
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from femur_lib.cohort import Cohort, new_cohort, read_cohort
from femur_lib.metrics.statistics import interval
from femur_lib.volumes import Volume

settings.register_profile("quick", max_examples=40, deadline=None, database=None, derandomize=True)
settings.load_profile("quick")

AXIS_ORDERS = [
    "".join(letters) for pairs in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*pairs)
]  # all 48

RAS_2_MM = np.diag([2.0, 2.0, 2.0, 1.0])
DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


MEASURED = Path(__file__).parents[1] / "results" / "faults" / "faults.csv"
FAULTS = ("fault", "times", "afterwards", "median_seconds", "most_seconds")


def script(path: str) -> ModuleType:
    """A program of the checkout that belongs to no package, imported as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[1] / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdict(difference: pd.Series, fold_of: pd.Series, another_seed=np.nan, patient_of: dict | None = None) -> dict:
    """What the function of notebook 06 says of a claim; without ``patient_of`` each scan is a patient's only one."""
    file = next((Path(__file__).parents[1] / "notebooks").glob("06_*"))
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(file.read_text("utf-8"))["cells"]}
    names = {"np": np, "interval": interval, "fold_of": fold_of}
    names["patient_of"] = patient_of or {name: name for name in difference.index}
    code = cells["nb06-verdict"]
    exec(code[code.index("def verdict") :], names)
    return names["verdict"](difference, another_seed)


def rotation(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    """A 3 x 3 rotation by three angles in degrees, about x first."""
    turn = np.eye(3)
    for axis, degrees in enumerate((about_x, about_y, about_z)):
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        i, j = [a for a in range(3) if a != axis]
        one = np.eye(3)
        one[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        turn = one @ turn
    return turn


def affine_of(axes: str, spacing_mm=(1.0, 1.0, 1.0), tilt=(0.0, 0.0, 0.0), origin=(0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine whose array axes point to the given letters, all turned together by ``tilt`` (degrees)."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(*tilt) @ np.array([DIRECTIONS[a] for a in axes], float).T * spacing_mm
    affine[:3, 3] = origin
    return affine


def world(affine: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Millimetres of voxel indices (N, 3)."""
    return nib.affines.apply_affine(affine, index)


def centre_of(volume: Volume) -> np.ndarray:
    """Where in the patient (mm) the centre of mass of a volume's values lies."""
    weight = np.asarray(volume.array, float)
    index = np.stack(np.nonzero(weight), axis=-1)
    return np.average(world(volume.affine, index), axis=0, weights=weight[weight != 0])


def draw(text: str) -> np.ndarray:
    """A mask (rows, columns, slices) from a drawing: # is inside, a blank line begins the next slice."""
    slices = [block.split() for block in text.strip().split("\n\n")]
    return np.array([[[c == "#" for c in row] for row in block] for block in slices]).transpose(1, 2, 0)


def write_nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """A NIfTI file written by nibabel alone, so that our reading is not tested against our own writing.

    Without an affine its axes are R, A and S: an identity would say that nobody knows them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, RAS_2_MM if affine is None else affine), path)
    return path


def write_dicom(
    folder: Path, array: np.ndarray, affine: np.ndarray, name="1-{:02d}.dcm", change=lambda header, k: None, **fields
) -> Path:
    """A series of single MR slices written by pydicom alone; axes (column, row, slice), affine as NIfTI has it.

    ``change`` may alter a slice, or leave it out by returning False; ``fields`` are set in every one.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    to_dicom = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # its millimetres grow to the left and back
    spacing = nib.affines.voxel_sizes(affine)
    study, series, space = (
        generate_uid(entropy_srcs=[str(folder), str(name), what]) for what in ("study", "series", "space")
    )
    for k in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        d = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
        d.SOPClassUID, d.SOPInstanceUID, d.Modality = MRImageStorage, meta.MediaStorageSOPInstanceUID, "MR"
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, space
        d.SeriesNumber, d.InstanceNumber = 4, k + 1
        d.ImagePositionPatient = [f"{v:.6f}" for v in to_dicom[:3] @ [0, 0, k, 1]]
        d.ImageOrientationPatient = [f"{v:.8f}" for v in (to_dicom[:3, :2] / spacing[:2]).T.ravel()]
        d.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
        d.Columns, d.Rows = array.shape[:2]
        d.PixelData = np.ascontiguousarray(array[..., k].T, "<u2").tobytes()
        for keyword, value in fields.items():
            setattr(d, keyword, value)
        if change(d, k) is not False:
            d.save_as(folder / (name(k) if callable(name) else name.format(k + 1)), enforce_file_format=True)
    return folder


def write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray | None, lines=(), space="left-posterior-superior"):
    """An NRRD file as 3D Slicer writes it, with an affine as nibabel's; an array of four axes has its layers first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = ["NRRD0004", f"type: {array.dtype}", f"dimension: {array.ndim}"]
    header += ["sizes: " + " ".join(map(str, array.shape)), "endian: little", "encoding: gzip"]
    header += ["kinds: " + "list " * (array.ndim - 3) + "domain domain domain"]
    if affine is not None:
        steps = np.diag([-1, -1, 1, 1]) @ affine if space.startswith("left-p") else affine
        said = ["(" + ",".join(map(str, column)) + ")" for column in steps[:3].T]
        header += [
            f"space: {space}",
            "space directions: " + "none " * (array.ndim - 3) + " ".join(said[:3]),
            f"space origin: {said[3]}",
        ]
    text = "\n".join([*header, *lines]).encode() + b"\n\n"
    path.write_bytes(text + gzip.compress(array.tobytes(order="F"), mtime=0))
    return path


def tiny_hip(seed: int, shape=(24, 24, 8), axes: str = "LIP") -> tuple[Volume, np.ndarray]:
    """A bright ellipsoid in noise, and its mask. Hips of different seeds differ in size and place."""
    rng = np.random.default_rng(seed)
    centre = (np.array(shape) - 1) / 2 + np.array(shape) * rng.uniform(-0.05, 0.05, 3)
    radii = np.array(shape) * rng.uniform(0.25, 0.32, 3)
    where = np.indices(shape) - centre[:, None, None, None]
    mask = ((where / radii[:, None, None, None]) ** 2).sum(0) < 1
    image = rng.normal(100, 10, shape) + 200 * mask
    affine = affine_of(axes, (2.0, 2.0, 5.0), tilt=(4, -3, 5), origin=(10.0, -20.0, 30.0))
    return Volume(image.astype(np.float32), affine), mask


class Bright:
    """Stands in for a network: femur is what is brighter than the scan's mean by two standard deviations."""

    def predict_on_batch(self, batch):
        femur = (batch[..., 0] > 2).astype(np.float32)
        return np.stack([1 - femur, femur], axis=-1)


def pass_through(model, levels: int, route: int) -> None:
    """Set the weights so that the pixels of the middle slice go down to level ``route`` and come out as logits.

    Every convolution hands on its middle pixel. On the way up each level takes the up-sampled map; level ``route``
    takes the copied one.
    """
    for layer in model.layers:
        if not layer.weights:
            continue
        kernel, bias = (np.zeros_like(w) for w in layer.get_weights())
        if layer.name.startswith("up") and "conv" not in layer.name:
            kernel[:, :, 0, 0] = 1
        elif layer.name == "logits":
            kernel[0, 0, 0, 1] = 1
        elif layer.name == "down0_conv1":
            kernel[1, 1, 1, 0] = 1
        else:
            level = int(layer.name[2]) if layer.name.startswith("up") else None
            takes_up_sampled = layer.name.endswith("conv1") and level is not None and level < min(route, levels)
            kernel[1, 1, kernel.shape[2] // 2 if takes_up_sampled else 0, 0] = 1
        layer.set_weights([kernel, bias])


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory) -> Cohort:
    """Six patients, one of them with both hips, in two groups of three. Read only; ``cohort_copy`` may be changed."""
    root = tmp_path_factory.mktemp("cohort") / "tiny"
    hips = [("01", "R"), ("01", "L"), ("02", "R"), ("03", "L"), ("04", "R"), ("05", "L"), ("06", "R")]
    with new_cohort(root, "tiny", "tests") as add:
        for seed, (patient, side) in enumerate(hips):
            group = "fracture" if int(patient) <= 3 else "control"
            add(f"sub-{patient}{side}", f"p{patient}", side, group, *tiny_hip(seed))
    return read_cohort(root)


@pytest.fixture(scope="session")
def trained_runs(tiny_cohort, tmp_path_factory) -> dict[str, Path]:
    """One run of each kind of network, trained until it finds the tiny hips. Read only."""
    from femur_lib.config import Profile
    from femur_lib.training import train

    profile = Profile(
        profile="tiny", grid_2d=(24, 24, 8), grid_3d=(24, 24, 8), epochs=12, first_epochs=12, learning_rate=1e-2,
        batch_size_2d=4, folds=2,
    )  # fmt: skip
    root = tmp_path_factory.mktemp("trained")
    networks = {"3d": "3d-f4-l2-d1.2", "2d": "2d-f4-l2", "2d-unpadded": "2d-unpadded-f4-l1"}
    return {
        kind: train(tiny_cohort, root / kind, name, profile, 0, progress=lambda line: None)
        for kind, name in networks.items()
    }


@pytest.fixture
def cohort_copy(tiny_cohort, tmp_path) -> Path:
    """The folder of a tiny cohort that a test may change."""
    return Path(shutil.copytree(tiny_cohort.root, tmp_path / "copy"))


@pytest.fixture(scope="session")
def faults():
    """What keeps a row of results/faults/faults.csv, if MEASURE_FAULTS is set: a fault, how often, and the end.

    ``took`` has the seconds from each start until it went on; None where that was not seen.
    """
    rows: dict[str, dict] = {}

    def keep(fault: str, times: int, afterwards: str, took: list[float | None] = ()) -> None:
        seen = [seconds for seconds in took if seconds is not None]
        seconds = [f"{f(seen):.1f}" if seen else "" for f in (statistics.median, max)]
        rows[fault] = dict(zip(FAULTS, (fault, times, afterwards, *seconds), strict=True))

    yield keep
    if os.environ.get("MEASURE_FAULTS") and rows:
        old = pd.read_csv(MEASURED, dtype=str) if MEASURED.is_file() else pd.DataFrame(columns=FAULTS)
        merged = {row["fault"]: row for row in old.to_dict("records")} | rows
        pd.DataFrame(merged.values(), columns=FAULTS).to_csv(MEASURED, index=False)
