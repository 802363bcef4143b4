"""What a profile's whole study costs: hours, kilowatt-hours and euros, from measured steps and counted arithmetic.

    python benchmarks/study_cost.py [--profile paper] [--epochs 60]

A network's multiplications are counted (femur_lib.costs); how many a second a machine does in training comes from steps
that were measured: the paper's own minutes an epoch on its P100 (Results, "Computational efficiency"), and ours on two
cores (benchmarks/README.md). Networks of the same kind are taken to run at the same rate. An order of magnitude.
"""

import argparse

from femur_lib.experiments import load_profile
from femur_lib.paper import SUBJECTS
from femur_lib.study import plan

# Minutes an epoch of F 32, L 4 at the paper's sizes: of its Results, and of `epoch.py`.
MINUTES = {
    "NVIDIA P100 (paper)": {"2d-unpadded-f32-l4": 5, "2d-f32-l4": 7, "3d-f32-l4": 7},
    "two cores, AVX2": {"2d-unpadded-f32-l4": 158, "2d-f32-l4": 291, "3d-f32-l4": 41},
}
KILOWATTS = {"NVIDIA P100 (paper)": 0.25, "two cores, AVX2": 0.03}  # the board's limit; a share of a server, assumed
EUROS_A_KWH = 0.3  # assumed


def kind(experiment: str) -> str:
    """The network of the same kind whose epochs were timed."""
    return next(k for k in ("2d-unpadded-f32-l4", "2d-f32-l4", "3d-f32-l4") if experiment.startswith(k.split("-f")[0]))


def main() -> None:
    """Print a line a machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="paper")
    parser.add_argument("--epochs", type=int, default=60, help="which early stopping leaves, about")
    a = parser.parse_args()
    profile, paper = load_profile(a.profile), load_profile("paper")
    study = plan(a.profile, look=False)
    networks = study.experiments
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
