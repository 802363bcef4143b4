"""Hand a trained network to others: a folder that holds the network, its recipe, and a small program that uses both.

No file format for networks can hold all that turns a scan into a mask: reading NIfTI, turning to the stack's axes, the
cubic spline, the nine patches. So two files lie beside the network: ``recipe.json``, which has the settings of every
step, and ``segment.pyz``, which takes the steps. The latter is a part of this library, packed by :mod:`zipapp`.
"""

import ast
import dataclasses
import json
import os
import shutil
import tempfile
import zipapp
from pathlib import Path

import numpy as np

import femur_lib
from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import new_folder
from femur_lib.lab.runner import NETWORKS, content_hash
from femur_lib.runs import load_run

LIBRARY = Path(femur_lib.__file__).parent
NEEDS = {"onnx": "onnxruntime", "keras": "tensorflow", "savedmodel": "tensorflow"}
README = """\
A network that segments the proximal femur in MR images of one hip, exported by femur_lib {version}.
It is not a medical device. It is for research and teaching.

    pip install numpy scipy nibabel {needs}
    python segment.pyz SCAN.nii.gz --out FOLDER

writes FOLDER/SCAN_probability.nii.gz and FOLDER/SCAN_mask.nii.gz, on the scan's own grid.

{network}  the network: {name}, {shape}
recipe.json    every step before and after the network, with its settings
segment.pyz    the program that takes these steps

The network sees {rows} x {columns} x {slices} voxels of about {spacing} mm. A scan whose voxels would be very different
in size is refused. A scan may have any number of slices: every one is segmented.
{safety}
"""
SAFETY = {
    "onnx": "An ONNX file holds arithmetic only; reading one runs no code.",
    "keras": "The file is read in Keras's safe mode, which refuses code.",
    "savedmodel": "A SavedModel can hold operations that touch files. Use one only if you trust whoever made it.",
}


def export(run: str | os.PathLike, out: str | os.PathLike, kind: str, patches: str = "") -> Path:
    """Write a run's network and all that belongs to it into a new folder, whole or not at all.

    Args:
        run: a finished run.
        out: a new folder.
        kind: "onnx" (runs without TensorFlow), "keras" or "savedmodel".
        patches: for unpadded networks, "nine" or "one"; empty takes the profile's.

    Returns:
        The folder.

    Raises:
        DataError: ``run`` is not a finished run, ``out`` exists, the format is not known, or its libraries are missing.
    """
    out = Path(out)
    if kind not in NETWORKS:
        raise DataError(f"{kind} is not a format of export; {', '.join(NETWORKS)} are.", "Choose one of them.")
    with new_folder(out) as work:
        loaded = load_run(run, "float32", patches)
        s = loaded.segmenter
        network = work / NETWORKS[kind]
        _write_network(loaded.model, network, kind)
        recipe = {
            "format": kind,
            "network": loaded.record["network"],
            "network_sha256": content_hash(network),
            "input": "float32 (N, rows, columns, slices, 1)" if s.architecture.dimensions == 3 else
                     "float32 (N, rows, columns, 3): a slice between its two neighbours",
            "output": "float32, the same axes; the last one has the probabilities of background and of femur",
            "axes": "rows go to inferior, columns to the patient's left, slices to posterior",
            "steps": [
                "turn the scan to these axes",
                "resample every slice in-plane to the grid by cubic splines",
                "scale grey levels by mean and standard deviation of the central slices, as many as the grid has (of "
                "those of the body if the central ones show air)",
                "predict: 2D slice after slice, 3D in overlapping windows of the grid's slices, the central one on top",
                "for unpadded networks, average over patches; with flip, average with the mirrored scan",
                "bring the probabilities back to the scan's grid by linear interpolation",
                "call voxels above the threshold femur; with largest_component, keep the largest (26 neighbours)",
            ],
            "architecture": dataclasses.asdict(s.architecture),
            "grid": dataclasses.asdict(s.grid),
            "threshold": s.threshold,
            "largest_component": s.largest_component,
            "flip": s.flip,
            "patches": s.patches,
            "grid_spacing_mm": list(s.grid_spacing_mm),
            "trained": {k: loaded.record.get(k) for k in ("fold", "source", "finished", "versions")},
        }  # fmt: skip
        (work / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
        _pack_runner(work / "segment.pyz")
        (work / "README.txt").write_text(
            README.format(
                version=femur_lib.__version__,
                needs=NEEDS[kind],
                network=NETWORKS[kind],
                name=recipe["network"],
                shape=recipe["input"],
                spacing=" x ".join(f"{v:.3g}" for v in s.grid_spacing_mm),
                safety=SAFETY[kind],
                **{k: recipe["grid"][k] for k in ("rows", "columns", "slices")},
            )
        )
    return out


def _write_network(model, path: Path, kind: str) -> None:
    if kind == "keras":
        model.save(path)
        return
    if kind == "onnx":
        try:
            import tf2onnx  # noqa: F401
        except ImportError:
            raise DataError(
                "Writing ONNX takes tf2onnx, which is not installed.", 'Install it: pip install "femur-lib[onnx]".'
            ) from None
    # Keras traces a network when it is called, which must have happened once before it can be exported.
    side = [n or 2**6 for n in model.input_shape[1:-1]]
    model(np.zeros((1, *side, model.input_shape[-1]), np.float32))
    model.export(path, format="onnx" if kind == "onnx" else "tf_saved_model", verbose=False)


def packed_modules() -> dict[str, Path]:
    """The modules of this library that are imported when the runner starts, itself included, and their files.

    What a function imports does not count: the runner calls only functions that do not need it.
    """
    found: dict[str, Path] = {}
    wanted = ["femur_lib.lab.runner"]
    while wanted:
        name = wanted.pop()
        file = _source(name)
        if file is None or name in found:
            continue
        found[name] = file
        wanted.append(name.rpartition(".")[0])
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names]
    return found


def _source(name: str) -> Path | None:
    """The file of a module of this library; None for any other name."""
    library, *parts = name.split(".")
    path = LIBRARY.joinpath(*parts)
    files = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in files if library == "femur_lib" and file.is_file()), None)


def _pack_runner(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for file in packed_modules().values():
            packed = Path(scratch) / "femur_lib" / file.relative_to(LIBRARY)
            packed.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, packed)
        (Path(scratch) / "__main__.py").write_text(
            "import sys\nfrom femur_lib.lab.runner import main\nsys.exit(main())\n"
        )
        zipapp.create_archive(scratch, target, compressed=True)
