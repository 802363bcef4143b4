"""What runs in an exported folder: ``python segment.pyz SCAN ... --out FOLDER``.

It needs numpy, scipy and nibabel, and for the network either onnxruntime or TensorFlow with Keras, depending on the
format it was exported in. The other parts of femur_lib that it uses travel inside segment.pyz, so that the steps around
the network are done by the very code of the course.
"""

import argparse
import hashlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np

from femur_lib._runtime.errors import DataError, said, warn_once
from femur_lib.architecture import Architecture
from femur_lib.inference import (
    Model,
    Segmenter,
    check_fits,
    check_free,
    segment,
    write_segmentation,
)
from femur_lib.preprocessing import Grid
from femur_lib.volumes import by_name, read_volume

NETWORKS = {"onnx": "network.onnx", "keras": "network.keras", "savedmodel": "network"}


class OnnxNetwork:
    """An ONNX file behind the one method of a Keras model that we use."""

    def __init__(self, path: Path):
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
        self.input = self.session.get_inputs()[0].name

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of a batch."""
        return self.session.run(None, {self.input: np.ascontiguousarray(x, np.float32)})[0]


class SavedNetwork:
    """A TensorFlow SavedModel behind the same method."""

    def __init__(self, path: Path):
        import tensorflow as tf

        self.module = tf.saved_model.load(str(path))  # kept, because its variables live only as long as it does

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of a batch."""
        return self.module.serve(np.asarray(x, np.float32)).numpy()


def _load_network(path: Path, kind: str) -> Model:
    if kind == "onnx":
        return OnnxNetwork(path)
    if kind == "savedmodel":
        return SavedNetwork(path)
    import keras

    return keras.saving.load_model(path, compile=False)  # safe mode: a file that holds code is refused


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.relative_to(path).as_posix().encode() if path.is_dir() else b"")
            digest.update(file.read_bytes())
    return digest.hexdigest()


def load_exported(folder: Path) -> Segmenter:
    """Read an exported folder back.

    Raises:
        DataError: it is not an exported folder, or its network is not the one that was exported.
    """
    recipe_file = folder / "recipe.json"
    if not recipe_file.is_file():
        raise DataError(
            f"{folder} holds no recipe.json; a folder made by femur export was expected.", "Check the folder."
        )
    recipe = json.loads(recipe_file.read_text("utf-8"))
    network = folder / NETWORKS[recipe["format"]]
    if not network.exists() or content_hash(network) != recipe["network_sha256"]:
        what = "is not the network that was exported" if network.exists() else "does not exist"
        raise DataError(
            f"{network} {what}; the network that recipe.json describes was expected.", "Export again, or copy again."
        )
    architecture = recipe["architecture"] | {"dilation_rates": tuple(recipe["architecture"]["dilation_rates"])}
    return Segmenter(
        model=_load_network(network, recipe["format"]),
        architecture=Architecture(**architecture),
        grid=Grid(**recipe["grid"]),
        grid_spacing_mm=tuple(recipe["grid_spacing_mm"]),
        **{k: recipe[k] for k in ("threshold", "largest_component", "flip", "patches")},
    )


def main(arguments: list[str] | None = None, folder: Path | None = None) -> int:
    """Segment scans with the network beside this file; 0 if it went well, 1 for bad input."""
    parser = argparse.ArgumentParser(
        prog="segment.pyz", description="Segment the proximal femur in MR images of the hip. Not a medical device."
    )
    parser.add_argument(
        "scans", type=Path, nargs="+", metavar="SCAN", help="NIfTI, NRRD, MetaImage or MGH files, or folders of DICOM"
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument(
        "--axes", default="", help="the directions of the axes, such as LIP, for scans that do not say them"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same name")
    a = parser.parse_args(arguments)
    try:
        segmenter = load_exported(folder or Path(sys.argv[0]).resolve().parent)
        with warnings.catch_warnings():
            warnings.showwarning = warn_once("segment.pyz")
            _segment_files(segmenter, a.scans, a.out, a.overwrite, a.axes)
    except (DataError, OSError) as error:
        print(f"segment.pyz: {said(error)}", file=sys.stderr)
        return 1
    return 0


def _segment_files(segmenter: Segmenter, images: list[Path], out: Path, overwrite: bool, axes: str) -> None:
    scans = by_name(images)
    for name, scan in scans.items():  # every scan is checked before the first is segmented
        check_free(out, name, overwrite=overwrite)
        check_fits(segmenter, scan, read_volume(scan, axes))
    for number, (name, scan) in enumerate(scans.items(), start=1):
        write_segmentation(out, name, *segment(segmenter, read_volume(scan, axes)))
        print(f"{name} ({number} of {len(scans)})", flush=True)
