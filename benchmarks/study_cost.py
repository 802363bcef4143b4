"""What the whole study of a profile costs: hours, kilowatt-hours and euros, from measured steps and counted operations.

    python benchmarks/study_cost.py [--profile paper] [--epochs 60]

A network's multiplications are counted (femur_lib.architecture). How many of them a machine does in a second of
training comes from measured steps: the paper's own minutes for an epoch on its P100 (Results, "Computational
efficiency"), and ours on two cores (benchmarks/README.md). We assume that networks of the same kind run at the same
rate, so the result is an order of magnitude.
"""

import argparse

from femur_lib.config import load_profile
from femur_lib.paper.published import SUBJECTS
from femur_lib.paper.study import plan

# Minutes for an epoch of F 32, L 4 at the paper's sizes: from its Results, and from `epoch.py`.
MINUTES = {
    "NVIDIA P100 (paper)": {"2d-unpadded-f32-l4": 5, "2d-f32-l4": 7, "3d-f32-l4": 7},
    "two cores, AVX2": {"2d-unpadded-f32-l4": 158, "2d-f32-l4": 291, "3d-f32-l4": 41},
}
KILOWATTS = {"NVIDIA P100 (paper)": 0.25, "two cores, AVX2": 0.03}  # the board's limit; an assumed share
EUROS_A_KWH = 0.3  # assumed


def kind(network: str) -> str:
    """The network of the same kind whose epochs were timed."""
    return next(k for k in ("2d-unpadded-f32-l4", "2d-f32-l4", "3d-f32-l4") if network.startswith(k.split("-f")[0]))


def main() -> None:
    """Print one line for each machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--epochs", type=int, default=60, help="about as many as early stopping trains")
    a = parser.parse_args()
    profile, paper = load_profile(a.profile), load_profile("paper")
    study = plan(a.profile, look=False)
    networks = study.networks
    hips = profile.subjects / SUBJECTS
    print(f"{a.profile}: {len(networks)} networks x {study.folds} folds, {a.epochs} epochs, {profile.subjects} hips\n")
    print(f"{'machine':24}{'hours':>8}{'days':>7}{'kWh':>8}{'euros':>8}   the longest training")
    for machine, minutes in MINUTES.items():
        hours = {n: hips * profile.work(n) / paper.work(kind(n)) * minutes[kind(n)] / 60 * a.epochs for n in networks}
        total = sum(hours.values()) * study.folds
        longest = max(hours, key=lambda n: hours[n])
        kwh = total * KILOWATTS[machine]
        end = f"{longest}, {hours[longest]:.0f} h"
        print(f"{machine:24}{total:8.0f}{total / 24:7.1f}{kwh:8.0f}{kwh * EUROS_A_KWH:8.0f}   {end}")


if __name__ == "__main__":
    main()
