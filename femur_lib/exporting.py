"""Hand a trained network to others: one folder with the network, what belongs around it, and a small runner.

No format of networks can hold all that turns a scan into a mask: reading NIfTI, turning to the stack's axes, the cubic
spline, the nine patches. So beside the network lie ``recipe.json``, which names each step's settings, and
``segment.pyz``, which takes them: a few files of this library packed by :mod:`zipapp`.
"""

import dataclasses
import json
import os
import shutil
import tempfile
import zipapp
from pathlib import Path

import numpy as np

import femur_lib
from femur_lib.errors import DataError
from femur_lib.runner import NETWORKS, content_hash
from femur_lib.runs import load_run

PACKED = (
    "__init__", "architecture", "costs", "errors", "files", "inference", "inputs", "masks", "runner", "segmentation",
    "volumes",
)  # fmt: skip
NEEDS = {"onnx": "onnxruntime", "keras": "tensorflow", "savedmodel": "tensorflow"}
README = """\
A network that segments the proximal femur in MR images of one hip, exported by femur_lib {version}.
Not a medical device. For research and teaching.

    pip install numpy scipy nibabel {needs}
    python segment.pyz SCAN.nii.gz --out FOLDER

writes FOLDER/SCAN_probability.nii.gz and FOLDER/SCAN_mask.nii.gz, on the scan's own grid.

{network}  the network: {experiment}, {shape}
recipe.json    every step before and after it, with its settings
segment.pyz    the program that takes these steps

The network sees {rows} x {columns} x {slices} voxels of about {spacing} mm; scans of very different pixels are refused.
{safety}
"""
SAFETY = {
    "onnx": "An ONNX file holds arithmetic only; reading one runs no code.",
    "keras": "The file is read in Keras's safe mode, which refuses code.",
    "savedmodel": "A SavedModel can hold operations that touch files. Use one only from somebody you trust.",
}


def export(run: str | os.PathLike, out: str | os.PathLike, kind: str, patches: str | None = None) -> Path:
    """Write a run's network and all that belongs to it into a new folder, whole or not at all.

    Args:
        run: a finished run.
        out: a new folder.
        kind: "onnx" (runs without TensorFlow), "keras" or "savedmodel".
        patches: of unpadded networks, "nine" or "one"; None takes the profile's.

    Returns:
        The folder.

    Raises:
        DataError: no finished run, a folder that exists, a format that is not known or whose libraries are missing.
    """
    out = Path(out)
    if kind not in NETWORKS:
        raise DataError(kind, "an unknown format", f"one of {', '.join(NETWORKS)}", "Choose one.")
    if out.exists():
        raise DataError(out, "something there already", "a new folder", "Choose another.")
    loaded = load_run(run, "float32", patches)
    s = loaded.segmenter
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        work = Path(scratch) / out.name
        work.mkdir()
        network = work / NETWORKS[kind]
        _write_network(loaded.model, network, kind)
        recipe = {
            "format": kind,
            "experiment": loaded.record["experiment"],
            "network_sha256": content_hash(network),
            "input": "float32 (N, rows, columns, slices, 1)" if s.architecture.dimensions == 3 else
                     "float32 (N, rows, columns, 3): a slice between its neighbours",
            "output": "float32, the same axes, the last one background and femur",
            "axes": "rows to inferior, columns to the patient's left, slices to posterior",
            "steps": [
                "turn the scan to these axes",
                "take the central slices; resample in-plane by cubic splines to the grid; scale grey levels",
                "predict; unpadded networks by patches, averaged; with flip, average with the mirrored scan",
                "bring probabilities back to the scan's grid, linearly; voxels above the threshold are femur",
                "with largest_component, keep the largest (26 neighbours)",
            ],
            "architecture": dataclasses.asdict(s.architecture),
            "grid": dataclasses.asdict(s.grid),
            "threshold": s.threshold,
            "largest_component": s.largest_component,
            "flip": s.flip,
            "patches": s.patches,
            "grid_spacing_mm": list(s.grid_spacing_mm),
            "trained": {k: loaded.record[k] for k in ("fold", "source", "finished", "versions")},
        }  # fmt: skip
        (work / "recipe.json").write_text(json.dumps(recipe, indent=2) + "\n")
        _pack_runner(work / "segment.pyz")
        (work / "README.txt").write_text(
            README.format(
                version=femur_lib.__version__,
                needs=NEEDS[kind],
                network=NETWORKS[kind],
                experiment=recipe["experiment"],
                shape=recipe["input"],
                spacing=" x ".join(f"{v:.3g}" for v in s.grid_spacing_mm),
                safety=SAFETY[kind],
                **{k: recipe["grid"][k] for k in ("rows", "columns", "slices")},
            )
        )
        work.rename(out)
    return out


def _write_network(model, path: Path, kind: str) -> None:
    if kind == "keras":
        model.save(path)
        return
    if kind == "onnx":
        try:
            import tf2onnx  # noqa: F401
        except ImportError:
            raise DataError("onnx", "no tf2onnx", "the libraries of this format", "pip install '.[onnx]'") from None
    # Keras traces a network when it is called; it has to be once before it can be exported.
    side = [n or 2**6 for n in model.input_shape[1:-1]]
    model(np.zeros((1, *side, model.input_shape[-1]), np.float32))
    model.export(path, format="onnx" if kind == "onnx" else "tf_saved_model", verbose=False)


def _pack_runner(target: Path) -> None:
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) / "femur_lib"
        package.mkdir()
        for module in PACKED:
            shutil.copy(here / f"{module}.py", package)
        (Path(scratch) / "__main__.py").write_text("import sys\nfrom femur_lib.runner import main\nsys.exit(main())\n")
        zipapp.create_archive(scratch, target, compressed=True)
