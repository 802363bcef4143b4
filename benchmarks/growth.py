"""How the cost of a 3D network grows with slices, in-plane size, maps and levels: a table and a figure.

    python benchmarks/growth.py OUT [--steps 3]

Writes OUT/growth.csv and OUT/growth.png. One setting changes at a time, starting from 128 x 128 x 24 voxels, 16 maps
and 3 levels, in float32 and with batch size 1. Every measurement is a process of its own. The dashed lines show the
least memory, as femur_lib.architecture computes it.
"""

import argparse
from pathlib import Path

from measuring import answered, in_a_fresh_process, measured_step

BASE = {"side": 128, "slices": 24, "maps": 16, "levels": 3}
VARIED = {
    "slices": [8, 16, 24, 32, 48],
    "side": [64, 96, 128, 192, 256],
    "maps": [4, 8, 16, 32],
    "levels": [1, 2, 3],
}
NAMES = {"slices": "slices", "side": "rows and columns", "maps": "maps of the first level (F)", "levels": "levels (L)"}


def main() -> None:
    """Measure, write, draw."""
    if answered(measured_step):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path())
    parser.add_argument("--steps", type=int, default=3)
    a = parser.parse_args()
    import pandas as pd

    rows, known = [], {}
    for varied, values in VARIED.items():
        for value in values:
            s = {**BASE, varied: value}
            for task in ("inference", "training"):
                key = (*s.values(), task)
                if key not in known:
                    known[key] = measured(s, task, a.steps)
                rows.append({"varied": varied, "value": value, "task": task, **known[key]})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    a.out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(a.out / "growth.csv", index=False)
    draw(table, a.out / "growth.png")


def measured(s: dict[str, int], task: str, steps: int) -> dict[str, float]:
    """Seconds, gigabytes, and the least gigabytes, as computed."""
    from femur_lib.architecture import cost, parse_network

    network, size = f"3d-f{s['maps']}-l{s['levels']}", (s["side"], s["side"], s["slices"])
    request = {"network": network, "size": size, "task": task, "steps": steps, "precision": "float32"}
    found = in_a_fresh_process(__file__, request)
    c = cost(parse_network(network), size)
    least = c.training_bytes() if task == "training" else c.inference_bytes()
    return {"seconds": found["seconds"], "gigabytes": found["memory"] / 1e9, "least_gigabytes": least / 1e9}


def draw(table, path: Path) -> None:
    """Seconds above, memory below, one column for each setting that was varied."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(VARIED), figsize=(13, 6), sharex="col", sharey="row", layout="constrained")
    for column, varied in enumerate(VARIED):
        for task, colour in (("training", "#D55E00"), ("inference", "#0072B2")):
            part = table[(table.varied == varied) & (table.task == task)]
            axes[0, column].plot(part.value, part.seconds, "o-", color=colour, label=f"{task} step")
            axes[1, column].plot(part.value, part.gigabytes, "o-", color=colour, label=f"{task}, measured")
            axes[1, column].plot(
                part.value, part.least_gigabytes, "--", color=colour, label=f"{task}, least (computed)"
            )
        axes[1, column].set_xlabel(NAMES[varied])
        axes[1, column].set_xticks(VARIED[varied])
        for ax in axes[:, column]:
            ax.axvline(BASE[varied], color="0.8", zorder=0)
            ax.grid(axis="y", alpha=0.3)
    for row in (0, 1):  # last, because a fixed limit no longer grows with the other columns
        axes[row, 0].set_ylim(bottom=0)
    axes[0, 0].set_ylabel("seconds")
    axes[1, 0].set_ylabel("memory of the process [GB]")
    for row in (0, 1):
        axes[row, 0].legend(fontsize=8)
    b = BASE
    figure.suptitle(
        f"One setting at a time from {b['side']} x {b['side']} x {b['slices']} voxels, F {b['maps']}, L {b['levels']} "
        "(grey lines); float32, batch 1"
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
