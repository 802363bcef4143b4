"""Four of our networks here and in PyTorch: seconds and memory of a training step and of a prediction.

    python benchmarks/against_pytorch.py [--rounds 3] [--steps 10] [--networks 3d-f8-l4-a2-gn ...] [--compiled]

Needs PyTorch (``make oracles``). The peer is tests/pytorch_unet.py; tests/test_unet_parity.py checks that it gives the
same output as ours. PyTorch may use every memory format, and half precision where the CPU has instructions for it; with
``--compiled`` each of these also through torch.compile, which needs a C++ compiler and minutes. The first round
measures every setting of PyTorch; in the others its fastest one and ours take turns. Every measurement is a process of
its own, the first step is not counted, and the table shows medians over all rounds. Memory is the most that a process
held, and in brackets what it held before the network was built: the framework itself. "Least" is the memory of that
setting of PyTorch which needed least.
"""

import argparse
import statistics
import sys
from pathlib import Path

from measuring import answered, example, in_a_fresh_process, our_step, timed

from femur_lib._runtime.machine import backend, cpu_bfloat16, peak_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the peer

WORK = {  # the image's size, how many a step takes, and how many steps stand for one of --steps
    "3d-f8-l4-a2-gn": ((128, 96, 28), 1, 1.0),
    "2d-f8-l4-d1.2.4.8": ((128, 128), 8, 3.0),
    "2d-f64-l4": ((256, 256), 1, 0.5),
    "3d-f32-l4": ((256, 256, 48), 1, 0.2),
}
OURS = {"framework": "ours", "precision": "auto"}


def theirs(network: str, size: tuple[int, ...], task: str, precision: str, batch: int, channels_last: bool, compiled):
    """The same in PyTorch, with nothing but torch.nn and torch.optim."""
    import numpy as np
    import torch
    from pytorch_unet import UNet

    from femur_lib.architecture import parse_network

    last = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    layout = last if channels_last else torch.contiguous_format
    model = UNet(parse_network(network)).to(memory_format=layout)
    run = torch.compile(model) if compiled else model
    x, y = example(size, batch)
    images = torch.from_numpy(x).movedim(-1, 1).contiguous(memory_format=layout)
    masks = torch.from_numpy(y.astype(np.int64))
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    if task == "inference":
        model.eval()

        def predict():
            with torch.inference_mode(), half:
                return run(images).float().numpy()

        return predict
    optimiser = torch.optim.Adam(model.parameters())
    weight = torch.tensor([1.0, 5.0])

    def train():
        optimiser.zero_grad()
        with half:
            p = run(images)
        torch.nn.functional.nll_loss(p.float().clamp_min(1e-7).log(), masks, weight).backward()
        optimiser.step()

    return train


def measure(request: dict) -> dict:
    """Measure what :func:`main` asks for, in a process of its own."""
    if request["framework"] == "ours":
        backend()  # imports it
    else:
        import torch  # noqa: F401
    before = peak_bytes()
    common = request["network"], tuple(request["size"]), request["task"], request["precision"], request["batch"]
    if request["framework"] == "ours":
        step = our_step(*common)
    else:
        step = theirs(*common, request["channels_last"], request["compiled"])
    return {"seconds": timed(step, request["steps"]), "memory": peak_bytes(), "before": before}


def peers(compiled: bool) -> dict[str, dict]:
    """PyTorch in every setting that could be its best, by name."""
    found = {}
    for precision in ("float32", "bfloat16") if cpu_bfloat16() else ("float32",):
        for channels_last in (False, True):
            for through_compiler in (False, True) if compiled else (False,):
                words = (precision, "channels last" * channels_last, "compiled" * through_compiler)
                found[", ".join(filter(None, words))] = {
                    "framework": "theirs", "precision": precision, "channels_last": channels_last,
                    "compiled": through_compiler,
                }  # fmt: skip
    return found


def median(rows: list[dict]) -> float:
    """Median seconds of all steps of some measurements."""
    return statistics.median(s for row in rows for s in row["seconds"])


def memory(rows: list[dict]) -> str:
    """The most memory of some measurements, and what the process held before the network was built, in GB."""
    return f"{max(row['memory'] for row in rows) / 1e9:.2f} ({max(row['before'] for row in rows) / 1e9:.2f})"


def main() -> None:
    """Measure and print."""
    if answered(measure):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--networks", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--tasks", nargs="+", choices=("training", "inference"), default=["training", "inference"])
    parser.add_argument("--compiled", action="store_true")
    a = parser.parse_args()
    print(
        "| network | images | task | ours [s] | PyTorch [s] | ratio | its best setting | ours GB | PyTorch GB | least |"
    )
    print("|---" * 10 + "|")
    for network in a.networks:
        size, batch, share = WORK[network]
        for task in a.tasks:
            common = {"network": network, "size": size, "batch": batch, "task": task}
            common["steps"] = max(1, round(share * a.steps))

            def measured(setting: dict, common: dict = common) -> dict:
                return in_a_fresh_process(__file__, common | setting)

            ours = [measured(OURS)]
            found = {name: [measured(setting)] for name, setting in peers(a.compiled).items()}
            best = min(found, key=lambda name: median(found[name]))
            for _ in range(a.rounds - 1):
                found[best].append(measured(peers(a.compiled)[best]))
                ours.append(measured(OURS))
            least = min(row["memory"] for rows in found.values() for row in rows) / 1e9
            t, p = median(ours), median(found[best])
            images = f"{f'{batch} of ' * (batch > 1)}{' x '.join(map(str, size))}"
            print(
                f"| `{network}` | {images} | {task} | {t:.3f} | {p:.3f} | {t / p:.2f} | {best} | {memory(ours)} | "
                f"{memory(found[best])} | {least:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
