"""Seconds of a training step and of a prediction by precision and number of maps: are 16-bit numbers faster here?

    python benchmarks/precision.py [--size 96 96 24] [--maps 8 16 32] [--steps 3]

3D networks with three levels, batch size 1; every measurement is a process of its own. The rules by which
femur_lib._runtime.machine chooses a precision follow from such tables.
"""

import argparse

from measuring import answered, in_a_fresh_process, measured_step


def main() -> None:
    """Measure and print."""
    if answered(measured_step):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[96, 96, 24])
    parser.add_argument("--maps", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--steps", type=int, default=3)
    a = parser.parse_args()
    import tensorflow as tf

    policies = ["float32", "mixed_bfloat16"]
    if tf.config.list_physical_devices("GPU"):
        policies.append("mixed_float16")
    print(f"{'x'.join(map(str, a.size))}, three levels\n")
    print(f"{'maps':>5} {'task':11}" + "".join(f"{p:>18}" for p in policies) + "   ratios to float32")
    for maps in a.maps:
        for task in ("inference", "training"):
            request = {"network": f"3d-f{maps}-l3", "size": a.size, "task": task, "steps": a.steps}
            seconds = [in_a_fresh_process(__file__, {**request, "precision": p})["seconds"] for p in policies]
            ratios = " ".join(f"{s / seconds[0]:.2f}" for s in seconds[1:])
            print(f"{maps:>5} {task:11}" + "".join(f"{s:18.3f}" for s in seconds) + f"   {ratios}", flush=True)


if __name__ == "__main__":
    main()
