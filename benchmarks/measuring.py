"""What the benchmarks of networks share. Each measurement is a process of its own, so that none inherits another's
memory or warm caches.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from femur_lib._runtime.machine import peak_bytes  # importing femur_lib sets what TensorFlow reads when it starts


def timed(step: Callable[[], object], steps: int) -> list[float]:
    """Seconds of each step, after a first one that is not counted."""
    step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def in_a_fresh_process(script: str, request: dict) -> dict:
    """Run ``script --measure REQUEST``, which prints its answer as JSON on its last line."""
    command = [sys.executable, script, "--measure", json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{request}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answered(measure: Callable[[dict], dict]) -> bool:
    """Measure and print, in a process that :func:`in_a_fresh_process` started; anywhere else just return False."""
    if sys.argv[1:2] != ["--measure"]:
        return False
    print(json.dumps(measure(json.loads(sys.argv[2]))))
    return True


def our_step(
    network: str, size: tuple[int, ...], task: str, precision: str = "float32", batch: int = 1
) -> Callable[[], object]:
    """A prediction ("inference") or a training step ("training") of one of our networks, on noisy images."""
    from femur_lib.architecture import parse_network
    from femur_lib.losses import WeightedCrossEntropy
    from femur_lib.unet import unet

    model = unet(parse_network(network), precision=precision)
    x, y = example(size, batch)
    if task == "inference":
        return lambda: model.predict_on_batch(x)
    model.compile("adam", WeightedCrossEntropy(1.0, 5.0))
    return lambda: model.train_on_batch(x, y)


def example(size: tuple[int, ...], batch: int = 1):
    """Noise with three channels in 2D or one in 3D, and a mask of about a sixth of its voxels."""
    import numpy as np

    x = np.random.default_rng(0).normal(size=(batch, *size, 3 if len(size) == 2 else 1)).astype(np.float32)
    return x, (x[..., 0] > 1).astype(np.uint8)


def measured_step(request: dict) -> dict:
    """Median seconds and peak memory of :func:`our_step`; ``request`` holds its arguments and ``steps``."""
    step = our_step(request["network"], tuple(request["size"]), request["task"], request["precision"])
    return {"seconds": statistics.median(timed(step, request["steps"])), "memory": peak_bytes()}
