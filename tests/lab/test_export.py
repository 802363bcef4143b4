"""An exported folder segments a whole scan as the run does, in a process that has no femur_lib."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile

import keras
import nibabel as nib
import numpy as np
import pytest
from conftest import tiny_hip, write_nifti

from femur_lib import cli
from femur_lib._runtime.errors import DataError
from femur_lib.evaluation import predict_files, scans_of_files
from femur_lib.lab import runner
from femur_lib.lab.export import export
from femur_lib.runs import load_run

needs_onnx = pytest.mark.skipif(importlib.util.find_spec("tf2onnx") is None, reason="the extra onnx is not installed")
NOT_NEEDED = {"tensorflow", "keras", "pandas", "pydantic", "yaml", "matplotlib", "filelock", "jinja2", "sklearn"}


def segmented_elsewhere(folder, scan, out) -> subprocess.CompletedProcess:
    """Run segment.pyz in a process that can import neither this checkout nor what README.txt does not ask for."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    program = (
        f"import runpy, sys; sys.argv = sys.argv[1:]; sys.modules.update(dict.fromkeys({NOT_NEEDED}));"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-P", "-c", program, str(folder / "segment.pyz"), str(scan), "--out", str(out)]
    return subprocess.run(command, cwd=out.parent, env=clean, capture_output=True, text=True, check=False)


def segmented(folder, scan, out, *more) -> int:
    """The same without waiting for a process to start."""
    return runner.main([str(scan), "--out", str(out), *more], folder)


def assert_as_by_the_run(run, scan, theirs, tmp_path) -> None:
    predict_files(load_run(run, "float32").segmenter, scans_of_files([scan]), tmp_path / "ours")
    name = scan.name.removesuffix(".nii.gz")
    for what, tolerance in (("probability", 1e-5), ("mask", 0)):
        a, b = (nib.load(folder / f"{name}_{what}.nii.gz") for folder in (tmp_path / "ours", theirs))
        np.testing.assert_array_equal(a.affine, b.affine)
        a, b = np.asarray(a.dataobj), np.asarray(b.dataobj)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
        assert a.any()


@needs_onnx
@pytest.mark.parametrize("network", ["3d", "2d", "2d-unpadded"])
def test_without_tensorflow_a_whole_scan_is_segmented_as_by_the_run(trained_runs, tiny_cohort, tmp_path, network):
    scan = tiny_cohort.subjects[0].image
    folder = export(trained_runs[network], tmp_path / "network", "onnx")
    done = segmented_elsewhere(folder, scan, tmp_path / "theirs")
    assert done.returncode == 0, done.stderr
    assert_as_by_the_run(trained_runs[network], scan, tmp_path / "theirs", tmp_path)


@pytest.mark.parametrize("network", ["3d", "2d", "2d-unpadded"])
@pytest.mark.parametrize("kind", ["keras", "savedmodel"])
def test_a_whole_scan_is_segmented_as_by_the_run(trained_runs, tiny_cohort, tmp_path, kind, network):
    scan = tiny_cohort.subjects[0].image
    folder = export(trained_runs[network], tmp_path / "network", kind)
    assert segmented(folder, scan, tmp_path / "theirs") == 0
    assert_as_by_the_run(trained_runs[network], scan, tmp_path / "theirs", tmp_path)


def test_one_pass_is_exported_at_its_own_size(trained_runs, tiny_cohort, tmp_path):
    folder = export(trained_runs["2d-unpadded"], tmp_path / "network", "keras", patches="one")
    assert json.loads((folder / "recipe.json").read_text())["patches"] == "one"
    assert runner.load_exported(folder).model.input_shape[1:3] > (24, 24)
    assert segmented(folder, tiny_cohort.subjects[0].image, tmp_path / "out") == 0


@pytest.fixture(scope="module")
def exported(trained_runs, tmp_path_factory):
    """A 3D network in Keras's format. Read only."""
    return export(trained_runs["3d"], tmp_path_factory.mktemp("exported") / "network", "keras")


def test_every_slice_of_a_longer_scan_is_segmented_as_by_the_run(exported, trained_runs, tmp_path, capsys):
    image, _ = tiny_hip(3)
    more = np.random.default_rng(0).normal(100, 10, (24, 24, 14)).astype(np.float32)
    scan = write_nifti(tmp_path / "long.nii.gz", np.concatenate([image.array, more], axis=2), image.affine)
    assert segmented(exported, scan, tmp_path / "theirs") == 0
    assert capsys.readouterr().err == ""
    assert_as_by_the_run(trained_runs["3d"], scan, tmp_path / "theirs", tmp_path)


def test_the_packed_program_says_what_it_cannot_write_or_read_in_one_line(exported, tiny_cohort, tmp_path, capsys):
    scan = tiny_cohort.subjects[0].image
    (tmp_path / "file").touch()
    assert segmented(exported, scan, tmp_path / "file" / "out") == 1
    assert (
        capsys.readouterr().err
        == f"segment.pyz: {tmp_path / 'file' / 'out'} cannot be read or written: not a directory. "
        "Check the path: a part of it is a file.\n"
    )


def test_what_is_packed_imports_nothing_that_is_not_there_when_it_starts(exported):
    with zipfile.ZipFile(exported / "segment.pyz") as pack:
        sources = {name: pack.read(name).decode() for name in pack.namelist() if name.endswith(".py")}
    packed = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in sources}
    assert {"femur_lib.inference", "femur_lib.preprocessing", "femur_lib.lab.runner"} < packed
    assert not packed & {"femur_lib.unet", "femur_lib.cohort", "femur_lib._runtime.locks", "femur_lib._runtime.backend"}
    for source in sources.values():
        for node in ast.parse(source).body:
            names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
            for name in names:
                assert name.partition(".")[0] not in NOT_NEEDED
                assert name in packed or not name.startswith("femur_lib")


def test_a_failure_ends_the_packed_program_with_1_and_one_line(exported, tmp_path):
    shutil.copy(exported / "segment.pyz", tmp_path)  # alone, without its recipe
    done = segmented_elsewhere(tmp_path, tmp_path / "scan.nii.gz", tmp_path / "out")
    assert done.returncode == 1
    assert "segment.pyz: " in done.stderr
    assert "holds no recipe.json" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_recipe_names_every_setting_and_no_scan(trained_runs, tiny_cohort, tmp_path):
    recipe = (export(trained_runs["2d"], tmp_path / "network", "keras") / "recipe.json").read_text()
    assert json.loads(recipe)["largest_component"] is True
    assert json.loads(recipe)["threshold"] == load_run(trained_runs["2d"]).segmenter.threshold
    assert not any(s.id in recipe for s in tiny_cohort.subjects)


def test_a_network_that_was_changed_is_refused_in_one_line(trained_runs, tiny_cohort, tmp_path, capsys):
    folder = export(trained_runs["3d"], tmp_path / "network", "keras")
    with (folder / "network.keras").open("ab") as file:
        file.write(b"x")
    assert segmented(folder, tiny_cohort.subjects[0].image, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "network.keras is not the network that was exported" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_there_stays(exported, tiny_cohort, tmp_path, capsys):
    scan = tiny_cohort.subjects[0].image
    mask = tmp_path / "out" / scan.name.replace(".nii", "_mask.nii")
    mask.parent.mkdir()
    mask.write_text("drawn by hand for two hours")
    assert segmented(exported, scan, tmp_path / "out") == 1
    assert "exists already" in capsys.readouterr().err
    assert mask.read_text().startswith("drawn")
    assert segmented(exported, scan, tmp_path / "out", "--overwrite") == 0
    assert nib.load(mask).shape == nib.load(scan).shape


def test_a_folder_that_is_there_is_not_written_into(trained_runs, tmp_path):
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "notes.txt").touch()
    with pytest.raises(DataError, match="network exists and is not empty"):
        export(trained_runs["3d"], tmp_path / "network", "keras")
    assert [path.name for path in tmp_path.rglob("*")] == ["network", "notes.txt"]


def test_a_failed_export_leaves_nothing(trained_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("femur_lib.lab.export._pack_runner", lambda target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(trained_runs["3d"], tmp_path / "network", "keras")
    assert not any(tmp_path.iterdir())


def test_a_network_that_holds_code_is_not_loaded(trained_runs, tmp_path):
    record = json.loads((trained_runs["3d"] / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | {"files": {}}))  # who puts code in can mend a checksum, too
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(DataError, match=r"model\.keras cannot be read"):
        load_run(tmp_path)


def test_the_command_line_exports(trained_runs, tmp_path):
    assert cli.main(["export", str(trained_runs["3d"]), str(tmp_path / "n"), "--format", "keras"]) == 0
    assert {p.name for p in (tmp_path / "n").iterdir()} == {"README.txt", "network.keras", "recipe.json", "segment.pyz"}
