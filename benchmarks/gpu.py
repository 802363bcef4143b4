"""All that needs a GPU, in one command: parity, the paper's *Computational efficiency*, its best network at its size.

    python benchmarks/gpu.py [--minutes 8]     on a CUDA machine, with Keras and JAX (or TensorFlow); or: make gpu
    python benchmarks/gpu.py --rehearse        everything once at a fraction of the size, on any CPU

It needs nothing but a checkout: the scans are synthetic women, made on the spot while the first parts run. The parts:

machine     what the machine is, its best rates, and how far its probabilities are from the CPU's
efficiency  seconds a step, minutes an epoch of 65 women, seconds a subject and memory, in float32 and bfloat16, beside
            the paper's P100 and beside the same networks in PyTorch where that is installed
training    the paper's networks at its size by its recipe, fold after fold, scored on the 512 grid: Table 1's row and
            Figs. 2, 3 and 7; then, in what time is left, more of the efficiency

Every result is written to results/gpu/CARD as soon as there is one, so a call that is cut short keeps what it has, and
the next one goes on from there. The clock is asked before each measurement; what no longer fits is listed in
``left_out.txt``. Networks and predictions stay in the folder for runs. On a machine that is lent there may be no next
call: with --finish the training that the clock stops counts as one of so many epochs, and is scored.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import joblib
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the library, where it is not installed

from gpu_results import facts, leave_out, leave_out_no_longer, open_folder, pack, publish, renew, report, table  # noqa: E402

from femur_lib._runtime.errors import DataError  # noqa: E402
from femur_lib._runtime.files import write_json  # noqa: E402
from femur_lib._runtime.machine import machine_bytes  # noqa: E402
from femur_lib._runtime.words import duration  # noqa: E402
from femur_lib.config import Profile, load_profile, run_name  # noqa: E402
from femur_lib.runs import partial_folder  # noqa: E402

SHARES = {"machine": 1, "efficiency": 3, "training": 6}  # of the time, among the parts that are asked for
PAPER = {"2d-unpadded-f32-l4": (5, 18), "2d-f32-l4": (7, 4), "3d-f32-l4": (7, 5)}  # minutes an epoch, seconds a subject
WOMEN, SLICES = 65, 48  # of an epoch: three of four folds of 86 women
FIRST = ("3d-f32-l4", "2d-f32-l4", "2d-unpadded-f32-l4", "3d-f32-l4-d1.2.4.8")  # the first to be timed
MORE = ("2d-f64-l4-d1.2.4.8", "2d-f64-l4", "2d-unpadded-f64-l3", "2d-unpadded-f64-l4")
TRAINED = ("3d-f32-l4-d1.2.4.8", "3d-f32-l4", "2d-f64-l4-d1.2.4.8", "2d-f64-l4", "2d-unpadded-f64-l3")
PRECISIONS = ("mixed_bfloat16", "float32")  # half as wide, and full
KEY = ["network", "setting", "precision"]
OURS = {"do": "ours", "setting": "femur_lib"}
NHWC = OURS | {"setting": "femur_lib, XLA's convolutions channels last", "flags": "--xla_gpu_force_conv_nhwc=true"}
EAGER = {"do": "theirs", "setting": "PyTorch, channels last", "channels_last": True, "compiled": False}
COMPILED = EAGER | {"setting": "PyTorch, channels last, compiled", "compiled": True}
CHANNELS_FIRST = EAGER | {"setting": "PyTorch, channels first", "channels_last": False}
TINY = Profile(
    profile="rehearsal", subjects=8, grid_2d=(288, 288, 3), grid_3d=(64, 64, 12), features_divisor=16, epochs=2,
    first_epochs=0, learning_rate=1e-3,
)  # fmt: skip
started: list[subprocess.Popen] = []


def begin(request: dict, log: Path | None = None, **environment: str) -> subprocess.Popen:
    """Start a measurement (gpu_measure.py) in a process of its own; with a log, what it says goes there."""
    command = [sys.executable, str(Path(__file__).with_name("gpu_measure.py")), json.dumps(request)]
    said = log.open("a") if log else subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True, env=os.environ | environment,
        process_group=0,
    )  # fmt: skip
    started.append(process)
    return process


def answer(process: subprocess.Popen, end: float) -> dict:
    """What a measurement found; it has until ``end``.

    Raises:
        RuntimeError: it failed, or took longer.
    """
    try:
        said, errors = process.communicate("go\n", timeout=max(1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        stop(process)
        raise RuntimeError("the time was up before it had finished") from None
    if process.returncode:
        raise RuntimeError((errors.strip() or f"exit status {process.returncode}").splitlines()[-1][:300])
    return json.loads(said.splitlines()[-1])


def wait(processes: list[subprocess.Popen], end: float) -> bool:
    """Wait until all have ended, at most until ``end``; whether they have."""
    while any(p.poll() is None for p in processes) and time.monotonic() < end:
        time.sleep(0.2)
    return all(p.poll() is not None for p in processes)


def stop(process: subprocess.Popen) -> None:
    """End a measurement, and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def card(rehearse: bool) -> dict:
    """The GPU's name, driver and memory, as its driver tells them, and the CPU's cores and memory.

    Raises:
        DataError: there is no GPU.
    """
    memory = machine_bytes() / 2**30
    found: dict[str, object] = {"cores": joblib.cpu_count(), "memory_gib": round(memory, 1)}
    if rehearse:
        return {"card": "cpu-rehearsal"} | found
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
    except (OSError, subprocess.CalledProcessError, IndexError):
        raise DataError("nvidia-smi finds no GPU here.", "Run on a CUDA machine, or add --rehearse.") from None
    return dict(zip(("card", "driver", "gpu_memory"), told, strict=True)) | found


def machine_part(folder: Path, a: argparse.Namespace, end: float) -> None:
    """machine.json: the machine, its best rates, and until ``end`` parity between CPU and GPU."""
    known = facts(folder) or card(a.rehearse)
    precisions = ["float32"] if a.rehearse else [*PRECISIONS, "float32 without TF32"]
    request = {"do": "parity", "file": str(a.runs / "parity.npz"), "precisions": precisions}
    request["networks"] = 2 if a.rehearse else None  # the first so many
    on_cpu = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
    reference = None if "parity" in known else begin(request | {"reference": True}, **on_cpu)
    if "best_rates_tflops" not in known:
        sizes = {"n": 8192, "maps": 128, "side": [96, 96, 48], "repeats": 20}
        tiny = {"n": 256, "maps": 8, "side": [16, 16, 8], "repeats": 1}
        known |= answer(begin({"do": "about"} | (tiny if a.rehearse else sizes)), a.end)
        if not (known["gpu"] or a.rehearse):
            raise DataError("nvidia-smi finds a GPU, but Keras's backend does not.", "Install JAX with CUDA.")
        write_json(folder / "machine.json", known)
    if reference:
        try:
            answer(reference, end)
            known["parity"] = answer(begin(request | {"reference": False}), end)
        except RuntimeError as error:
            leave_out(folder, f"parity: {error}")
        write_json(folder / "machine.json", known)


def measurements(rehearse: bool) -> Iterator[dict]:
    """What the efficiency is measured of, the most important first."""
    half, full = PRECISIONS
    order = [(OURS, FIRST, half), (NHWC, FIRST[:1], half), (EAGER, FIRST, half)]
    order += [(OURS, FIRST, full), (NHWC, FIRST[:1], full), (EAGER, FIRST, full)]
    order += [(COMPILED, FIRST, half), (OURS, MORE, half), (EAGER, MORE, half), (OURS, MORE, full), (EAGER, MORE, full)]
    order += [(COMPILED, FIRST, full), (COMPILED, MORE, half), (CHANNELS_FIRST, FIRST + MORE, half)]
    if rehearse:
        order = [(OURS, FIRST[:1], half), (OURS, FIRST[:3], full), (EAGER, FIRST[1:3], full)]
    for request, networks, precision in order:
        for network in networks:
            yield request | {"network": network, "precision": precision}


def efficiency_part(folder: Path, a: argparse.Namespace, end: float) -> None:
    """efficiency.csv: a row for each network, setting and precision."""
    leave_out_no_longer(folder, "efficiency")
    done = {tuple(row[k] for k in KEY) for row in table(folder, "efficiency.csv").to_dict("records")}
    waiting = [m for m in measurements(a.rehearse) if tuple(m[k] for k in KEY) not in done]
    if os.environ["KERAS_BACKEND"] != "jax":
        waiting = [m for m in waiting if "flags" not in m]
    if not find_spec("torch"):
        waiting = [m for m in waiting if m["do"] == "ours"]
        leave_out(folder, "efficiency: PyTorch is not installed")
    latest: dict[str, float] = {}  # seconds of the last one of each kind, by which to tell whether another one fits
    ready: dict[int, subprocess.Popen] = {}
    for number, request in enumerate(waiting):
        name = ", ".join(request[k] for k in KEY)
        before = time.monotonic()
        guess = a.guess if request["do"] == "ours" else a.guess / 2  # PyTorch as it is compiles nothing
        if before + latest.get(request["setting"], guess) > end:
            leave_out(folder, f"efficiency: {name}: no time left")
            continue
        process = ready.pop(number, None) or ready_for(request, a)
        if number + 1 < len(waiting):  # it gets ready while this one measures
            ready[number + 1] = ready_for(waiting[number + 1], a)
        try:
            row = efficiency_row(request, answer(process, min(a.end, before + a.patience)), folder, a.profile)
        except RuntimeError as error:
            leave_out(folder, f"efficiency: {name}: {error}")
            continue
        finally:
            latest[request["setting"]] = time.monotonic() - before
        renew(folder, "efficiency.csv", pd.DataFrame([row]), KEY)
        pack(folder)
        print(f"{name}: {row['step_s']:.4g} s a step, {row['share_of_best']:.0%} of the best rate", flush=True)
    for process in ready.values():
        stop(process)


def ready_for(request: dict, a: argparse.Namespace) -> subprocess.Popen:
    """Start the measurement of a step, with all that it needs to know; it waits to be told to go."""
    scans = 1 if request["network"].startswith("2d") else 3 if a.rehearse else 12
    more = {"steps": 2 if a.rehearse else 20, "scans": scans, "profile": a.profile.model_dump(mode="json")}
    return begin(request | more | {"wait": True}, **({"XLA_FLAGS": request["flags"]} if "flags" in request else {}))


def efficiency_row(request: dict, found: dict, folder: Path, profile: Profile) -> dict:
    """A row of efficiency.csv: what was measured, for an epoch and for a subject, beside the paper's."""
    network, dimensions = request["network"], int(request["network"][0])
    batch = profile.batch_size(dimensions)
    steps = WOMEN * (SLICES if dimensions == 2 else 1) / batch
    minutes, seconds = PAPER.get(network, (None, None))
    # Two operations for each multiplication, and three times as many on the way forth and back.
    rate = 2 * 3 * profile.cost(network).multiplications * batch / found["step_s"] / 1e12
    row = {k: request[k] for k in KEY} | {
        "first_step_s": found["first_step_s"],
        "step_s": found["step_s"],
        "fit_step_s": found.get("fit_step_s"),
        "epoch_min": found.get("fit_step_s", found["step_s"]) * steps / 60,
        "paper_epoch_min": minutes,
        "subject_s": found.get("subject_s"),
        "paper_subject_s": seconds,
        "peak_gib": found["peak_bytes"] and found["peak_bytes"] / 2**30,
        "tflops": rate,
        "share_of_best": rate / max(facts(folder)["best_rates_tflops"][request["precision"]].values()),
    }
    return {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}


def training_part(folder: Path, a: argparse.Namespace, hips: subprocess.Popen | None) -> None:
    """Train and score fold after fold until the time is up; a run that is cut short goes on in the next call."""
    end = a.end - a.reserve
    log = a.runs / "hips.log"
    if hips and (not wait([hips], end) or hips.returncode):
        return leave_out(folder, f"training: the synthetic women are not there: {last_line(log)}")
    scoring: list[subprocess.Popen] = []
    longest = a.guess  # seconds of a training: no other one begins where so many are not left
    for network, fold in unscored(folder, a):
        name, run, before = run_name(network, fold), a.runs / run_name(network, fold), time.monotonic()
        log = a.runs / f"{name}.log"
        request = {"do": "training", "runs": str(a.runs), "run": str(run), "network": network, "fold": fold}
        request |= {"profile": a.profile.model_dump(mode="json")}
        if not run.exists():
            if before + longest > end:
                leave_out(folder, f"training: {name}: no time left")
                continue
            print(f"training {name}; {log} tells of its epochs", flush=True)
            process, last = begin(request, log), end - (a.finish and a.scoring)
            while not wait([process], min(last, time.monotonic() + 20)) and time.monotonic() < last:
                publish(folder, a.runs, a.jobs)
            stop(process)  # in the middle of an epoch, perhaps: a training goes on from its last whole one
            if a.finish and not run.exists() and any(partial_folder(run).glob("epochs/*.npz")):
                wait([begin(request | {"finish": True}, log)], end)
            longest = max(longest, time.monotonic() - before)
        if run.exists():
            scoring.append(begin(request | {"do": "scoring"}, log))  # while the next one is trained
        else:
            leave_out(folder, f"training: {name} is not finished: {last_line(log)}")
    wait(scoring, end)
    publish(folder, a.runs, a.jobs)
    for name in (run_name(*job) for job in unscored(folder, a)):
        if (a.runs / name).exists():
            leave_out(folder, f"training: {name} is not scored yet: {last_line(a.runs / f'{name}.log')}")
    return None


def unscored(folder: Path, a: argparse.Namespace) -> list[tuple[str, int]]:
    """The networks and folds that have no scores in the results."""
    scores = table(folder, "scores.csv")
    scored = set(zip(scores.network, scores.fold, strict=True)) if len(scores) else set()
    return [job for job in a.jobs if job not in scored]


def last_line(log: Path) -> str:
    """What a process said last."""
    return next((line for line in reversed(log.read_text().splitlines()) if line.strip()), "") if log.exists() else ""


def arguments() -> argparse.Namespace:
    """The command line, and what follows from it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="how long it may take in all")
    parser.add_argument("--parts", nargs="+", choices=list(SHARES), default=list(SHARES), help="default: all")
    parser.add_argument("--rehearse", action="store_true", help="tiny, on the CPU")
    parser.add_argument("--finish", action="store_true", help="end the training that the clock stops, and score it")
    parser.add_argument("--out", type=Path, help="for results; default: results/gpu, of a rehearsal build/gpu")
    parser.add_argument("--runs", type=Path, help="for women and runs; default: runs/gpu or runs/gpu-rehearsal")
    a = parser.parse_args()
    if not a.minutes > 0:
        parser.error(f"--minutes is a number above 0, got {a.minutes:g}")
    a.out = a.out or ROOT / ("build/gpu" if a.rehearse else "results/gpu")
    a.runs = (a.runs or ROOT / ("runs/gpu-rehearsal" if a.rehearse else "runs/gpu")).resolve()
    a.profile = TINY if a.rehearse else load_profile("paper")
    a.jobs = [(network, fold) for network in TRAINED for fold in range(a.profile.folds)]
    if a.rehearse:
        a.jobs = [(TRAINED[0], 0), (TRAINED[-1], 0)]
    # Seconds: a first measurement, the longest one, ending and scoring a training, and the last drawing.
    a.guess, a.patience, a.scoring, a.reserve = (8, 120, 30, 4) if a.rehearse else (30, 90, 80, 10)
    a.end = time.monotonic() + 60 * a.minutes
    return a


def main() -> None:
    """Do the parts that were asked for, one after the other."""
    a, start = arguments(), time.monotonic()
    name = re.sub(r"[^a-z0-9]+", "-", str(card(a.rehearse)["card"]).lower())
    a.runs.mkdir(parents=True, exist_ok=True)
    # What JAX has compiled, down to the smallest piece, serves all further processes and the next call.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(a.runs / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    folder = open_folder(a.out, name, a.runs)
    hips = None
    if "training" in a.parts and unscored(folder, a):
        request = {"do": "hips", "runs": str(a.runs), "subjects": a.profile.subjects, "grid": a.profile.grid_3d}
        request |= {"size": "quick" if a.rehearse else "paper", "workers": max(1, joblib.cpu_count() - 4)}
        hips = begin(request, a.runs / "hips.log")
    whole, sofar = sum(SHARES[part] for part in a.parts), 0
    for part in [part for part in SHARES if part in a.parts]:
        before = time.monotonic()
        sofar += SHARES[part]
        end = start + 60 * a.minutes * sofar / whole
        if part == "machine" or (part == "efficiency" and not facts(folder)):
            machine_part(folder, a, before + 2 * (end - before))  # what comes next needs its rates, so it may overrun
        if part == "efficiency":
            efficiency_part(folder, a, end)
        if part == "training":
            training_part(folder, a, hips)
            if "efficiency" in a.parts:
                efficiency_part(folder, a, a.end - a.reserve)
        pack(folder)
        print(f"{part}: {duration(time.monotonic() - before)}", flush=True)
    report(folder)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except (DataError, RuntimeError) as error:
        sys.exit(str(error))
    finally:
        for process in started:
            if process.poll() is None:
                stop(process)
