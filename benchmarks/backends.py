"""Seconds and memory of a training step and of a prediction on each of Keras's backends that is installed here.

    python benchmarks/backends.py [--steps 5] [--rounds 3]

float32, one image at a time. Each measurement is a process of its own, and the backends take turns.
"""

import argparse
import os
import statistics
from importlib.util import find_spec

from measuring import answered, in_a_fresh_process, measured_step

from femur_lib._runtime.machine import BACKENDS

WORK = {  # what people train most here; 2D, dilated; a larger 3D network
    "3d-f8-l4-a2-gn": (128, 96, 28),
    "2d-f16-l4-d1.2.4.8": (256, 256),
    "3d-f16-l4": (144, 192, 32),
}


def main() -> None:
    """Measure and print."""
    if answered(measured_step):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    installed = [name for name in BACKENDS if find_spec(name)]
    columns = (f"{name} [s] | {name} ratio | {name} GB" for name in installed)
    print(f"| network | size | task | {' | '.join(columns)} |")
    print("|---" * (3 + 3 * len(installed)) + "|")
    for network, size in WORK.items():
        for task in ("training", "inference"):
            request = {"network": network, "size": size, "task": task, "precision": "float32", "steps": a.steps}
            found: dict[str, list[dict]] = {name: [] for name in installed}
            for _ in range(a.rounds):
                for name in installed:
                    os.environ["KERAS_BACKEND"] = name
                    found[name].append(in_a_fresh_process(__file__, request))
            seconds = {name: statistics.median(f["seconds"] for f in rows) for name, rows in found.items()}
            memory = {name: statistics.median(f["memory"] for f in rows) / 1e9 for name, rows in found.items()}
            first = seconds[installed[0]]
            cells = (f"{seconds[n]:.3f} | {seconds[n] / first:.1f} | {memory[n]:.1f}" for n in installed)
            print(f"| `{network}` | {' x '.join(map(str, size))} | {task} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
