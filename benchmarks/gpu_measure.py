"""The single measurements of gpu.py, each in a process of its own: ``python benchmarks/gpu_measure.py REQUEST``.

A request is JSON: ``do`` names one of the functions below, and the rest is what that function needs. The answer is the
last line of the output, JSON as well. With ``wait`` in the request, the process imports what it needs and then waits
for a line on its input: so the next measurement gets ready while another one has the GPU to itself.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # the library, where it is not installed, and the peer

from measuring import timed  # noqa: E402

from femur_lib._runtime import machine  # noqa: E402
from femur_lib._runtime.backend import keras  # noqa: E402
from femur_lib._runtime.files import write_json  # noqa: E402
from femur_lib.architecture import input_size, parse_network  # noqa: E402
from femur_lib.callbacks import FailureWatch, epochs_kept  # noqa: E402
from femur_lib.cohort import read_cohort  # noqa: E402
from femur_lib.config import Profile, Settings, resolve  # noqa: E402
from femur_lib.dataset import HipDataset, Sample, load_samples  # noqa: E402
from femur_lib.evaluation import evaluate  # noqa: E402
from femur_lib.inference import Segmenter, grid_probability  # noqa: E402
from femur_lib.losses import FemurDice, WeightedCrossEntropy  # noqa: E402
from femur_lib.phantom.cohort import make_cohort  # noqa: E402
from femur_lib.preprocessing import Grid  # noqa: E402
from femur_lib.runs import load_run, partial_folder  # noqa: E402
from femur_lib.training import optimiser, train  # noqa: E402
from femur_lib.unet import unet  # noqa: E402

PARITY = {  # one network of each kind, and the size of the image that both devices look at
    "2d-unpadded-f16-l2": (92, 92),
    "3d-f16-l2-d1.2.4.8": (32, 32, 16),
    "2d-f16-l3": (64, 64),
    "3d-f16-l2": (32, 32, 16),
    "3d-f16-l2-gn": (32, 32, 16),
}
PRECISIONS = ("float32", "mixed_bfloat16")
STRICT = "float32 without TF32"


def about(request: dict) -> dict:
    """The devices and versions, whether there is a GPU, and its best rates in TFLOP/s: the yardsticks.

    A large matrix product and a large 3D convolution, in the library's own backend; the fastest of three times counts.
    """
    ops, n, maps, side = keras.ops, request["n"], request["maps"], request["side"]
    operations = {"matrix product": 2 * n**3, "3D convolution": 2 * 27 * maps**2 * side[0] * side[1] * side[2]}
    rates: dict[str, dict[str, float]] = {}
    for precision in PRECISIONS:
        kind = "float32" if precision == "float32" else "bfloat16"
        a = ops.cast(keras.random.normal((n, n)), kind)
        x = ops.cast(keras.random.normal((1, *side, maps)), kind)
        k = ops.cast(keras.random.normal((3, 3, 3, maps, maps)), kind)
        works = {
            "matrix product": lambda a=a: ops.matmul(a, a),
            "3D convolution": lambda x=x, k=k: ops.conv(x, k, padding="same"),
        }
        rates[precision] = {
            what: operations[what] / min(timed(lambda work=work: _repeated(work, request["repeats"]), 3)) / 1e12
            * request["repeats"]
            for what, work in works.items()
        }  # fmt: skip
    found = {"devices": machine.devices(), "versions": machine.versions(), "gpu": bool(machine.gpu_capabilities())}
    return found | {"best_rates_tflops": rates}


def _repeated(work, times: int) -> None:
    """Start the same work several times and wait for the last: a GPU works through them in order."""
    for _ in range(times):
        out = work()
    while len(out.shape):
        out = out[0]
    keras.ops.convert_to_numpy(out)


def parity(request: dict) -> dict:
    """The largest difference of a probability between this device and the CPU, for one network of each kind.

    On the CPU (``reference``) the networks' weights and probabilities are written to ``file``; elsewhere they are read
    from it. GPUs compute float32 convolutions in TF32 unless told otherwise, so this is measured both ways.
    """
    file = Path(request["file"])
    kept = {} if request["reference"] else dict(np.load(file))
    found: dict[str, dict[str, float]] = {}
    for network, size in list(PARITY.items())[: request["networks"]]:
        a = parse_network(network)
        x = np.random.default_rng(0).normal(size=(2, *size, a.channels)).astype(np.float32)
        for precision in ("float32",) if request["reference"] else request["precisions"]:
            _allow_tf32(precision != STRICT)
            keras.utils.set_random_seed(0)
            model = unet(a, None if a.padded else size, "float32" if precision == STRICT else precision)
            if request["reference"]:
                kept |= {f"{network} {i}": w for i, w in enumerate(model.get_weights())}
                kept[network] = np.asarray(model.predict_on_batch(x))
                continue
            model.set_weights([kept[f"{network} {i}"] for i in range(len(model.weights))])
            difference = np.abs(np.asarray(model.predict_on_batch(x)) - kept[network]).max()
            found.setdefault(network, {})[precision] = float(difference)
    if request["reference"]:
        np.savez(file, **kept)
    return found


def _allow_tf32(yes: bool) -> None:
    name = machine.backend()
    if name == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", None if yes else "highest")
    elif name == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(yes)


def settings_of(request: dict) -> Settings:
    """What the request's profile means for its network."""
    return resolve(Profile(**request["profile"]), request["network"], request["precision"])


def noise(settings: Settings, scans: int) -> HipDataset:
    """Batches of a scan of noise, flipped at random: time does not depend on what is in a scan."""
    grid = settings.grid
    image = np.random.default_rng(0).normal(size=(grid.rows, grid.columns, grid.slices)).astype(np.float32)
    sample = Sample("noise", image, (image > 1).astype(np.uint8))
    return HipDataset([sample] * scans, settings.architecture, settings.batch_size, ("flip",), 0)


def ours(request: dict) -> dict:
    """Seconds and peak memory of a training step, and seconds for a subject, of one of our networks.

    ``step_s`` is with one batch again and again; ``fit_step_s`` is as a training does it: new batches through Keras's
    ``fit``, and a look at the loss after each. Both include the way of the batch to the GPU.
    """
    machine.prepare()
    settings = settings_of(request)
    a, grid = settings.architecture, settings.grid
    batches = noise(settings, request["scans"])
    model = unet(a, input_size(a, grid.rows, grid.columns), settings.precision)
    metrics = ["accuracy", FemurDice()]
    model.compile(optimiser(settings, len(batches)), WeightedCrossEntropy(1.0, 8.0), metrics=metrics)
    x, y = batches[0]
    started = time.perf_counter()
    model.train_on_batch(x, y)  # returns numbers, so it has waited for the device
    first = time.perf_counter() - started
    step = statistics.median(timed(lambda: model.train_on_batch(x, y), request["steps"]))
    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter()))
    model.fit(batches, callbacks=[FailureWatch(pd.DataFrame()), watch], verbose=0, shuffle=False)
    peak = peak_bytes()
    stack, segmenter = batches.samples[0].image, Segmenter(model, a, grid)
    subject = statistics.median(timed(lambda: grid_probability(segmenter, stack), 2))
    return {
        "first_step_s": first,
        "step_s": step,
        "fit_step_s": float(np.median(np.diff(ends))),
        "subject_s": subject,
        "peak_bytes": peak,
    }


def peak_bytes() -> int | None:
    """The most memory that was in use on the GPU; without a GPU, by this process."""
    name = machine.backend()
    if not machine.gpu_capabilities():
        return machine.peak_bytes()
    if name == "jax":
        import jax

        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if name == "torch":
        import torch

        return torch.cuda.max_memory_allocated()
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def theirs(request: dict) -> dict:
    """The same in PyTorch (gpu_torch.py)."""
    import gpu_torch

    return gpu_torch.measure(request, settings_of(request), noise(settings_of(request), 1))


def hips(request: dict) -> dict:
    """Make the synthetic women, and read each onto the grid once, so that no training has to wait for that."""
    os.nice(10)
    runs = Path(request["runs"])
    cohort = make_cohort(runs / "hips", request["subjects"], request["size"], workers=request["workers"], progress=_say)
    grid = Grid(*request["grid"])
    jobs = (joblib.delayed(_read)(cohort, s.id, grid, runs / ".femur-cache") for s in cohort.subjects)
    joblib.Parallel(n_jobs=request["workers"])(jobs)
    return {}


def _read(cohort, subject: str, grid: Grid, cache: Path) -> None:
    load_samples(cohort, [subject], grid, cache)  # ends in the cache that femur_lib.training.train looks into


def training(request: dict) -> dict:
    """Train one run, or go on with it. ``finish``: with the epochs it has, as if its profile had asked for so many."""
    profile = Profile(**request["profile"])
    if request.get("finish"):
        work = partial_folder(Path(request["run"]))
        profile = profile.model_copy(update={"epochs": epochs_kept(work / "epochs")})
        begun = json.loads((work / "settings.json").read_text())
        write_json(work / "settings.json", begun | {"profile": profile.model_dump(mode="json")})
    cohort = read_cohort(Path(request["runs"]) / "hips")
    train(cohort, request["run"], request["network"], profile, request["fold"], progress=_say)
    return {}


def scoring(request: dict) -> dict:
    """Segment and score, on the scans' own grid, the women that a run was not trained on."""
    evaluate(read_cohort(Path(request["runs"]) / "hips"), load_run(request["run"]), _say)
    return {}


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main() -> None:
    """Get ready, wait if asked to, measure, answer."""
    request = json.loads(sys.argv[1])
    known = (about, parity, ours, theirs, hips, training, scoring)
    measure = {function.__name__: function for function in known}[request["do"]]
    if measure is theirs:
        import gpu_torch  # noqa: F401
    if request.get("wait"):
        sys.stdin.readline()
    print(json.dumps(measure(request)))


if __name__ == "__main__":
    main()
