"""The paper's 3D networks here and in PyTorch: seconds, operations a second, and memory.

    python benchmarks/against_pytorch.py [--size 256 256 48] [--steps 2] [--rounds 1] [--networks 3d-f32-l3 ...]

Needs PyTorch (``make oracles``). The peer is tests/pytorch_unet.py; tests/test_unet_parity.py checks that it gives the
same output as ours. PyTorch may use every memory format, and half precision where the CPU has instructions for it; its
best setting counts. Every measurement is a process of its own, the settings take turns, the first step is not counted,
and the table shows medians. The rate counts two operations for each multiplication of the convolutions
(femur_lib.architecture), and three times as many for training. It is compared with the best rate that a large matrix
product and a large 3D convolution reach in the same framework.
"""

import argparse
import statistics
import sys
from pathlib import Path

from measuring import answered, example, in_a_fresh_process, our_step, timed

from femur_lib._runtime.machine import peak_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the peer


def theirs(network: str, size: tuple[int, ...], task: str, precision: str, channels_last: bool):
    """The same in PyTorch, with nothing but torch.nn and torch.optim."""
    import numpy as np
    import torch
    from pytorch_unet import UNet

    from femur_lib.architecture import parse_network

    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    model = UNet(parse_network(network)).to(memory_format=layout)
    x, y = example(size)
    images = torch.from_numpy(x).movedim(-1, 1).contiguous(memory_format=layout)
    masks = torch.from_numpy(y.astype(np.int64))
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    if task == "inference":
        model.eval()

        def predict():
            with torch.inference_mode(), half:
                return model(images).float().numpy()

        return predict
    optimiser = torch.optim.Adam(model.parameters())
    weight = torch.tensor([1.0, 5.0])

    def train():
        optimiser.zero_grad()
        with half:
            p = model(images)
        torch.nn.functional.nll_loss(p.float().clamp_min(1e-7).log(), masks, weight).backward()
        optimiser.step()

    return train


def best_rate(framework: str) -> float:
    """Billion operations a second of a large matrix product or a large 3D convolution, whichever is faster."""
    n, maps, side = 3000, 64, (96, 96, 24)
    if framework == "ours":
        import tensorflow as tf

        a, x = tf.random.normal((n, n)), tf.random.normal((1, *side, maps))
        k = tf.random.normal((3, 3, 3, maps, maps))
        works = [lambda: (a @ a).numpy(), lambda: tf.nn.conv3d(x, k, [1] * 5, "SAME").numpy()]
    else:
        import torch

        a, x = torch.randn(n, n), torch.randn(1, maps, *side).to(memory_format=torch.channels_last_3d)
        k = torch.randn(maps, maps, 3, 3, 3).to(memory_format=torch.channels_last_3d)
        works = [lambda: a @ a, lambda: torch.nn.functional.conv3d(x, k, padding=1)]
    operations = [2 * n**3, 2 * 27 * maps**2 * side[0] * side[1] * side[2]]
    return max(o / min(timed(w, 5)) / 1e9 for w, o in zip(works, operations, strict=True))


def measure(request: dict) -> dict:
    """Measure what :func:`main` asks for, in a process of its own."""
    if request["task"] == "rate":
        return {"rate": best_rate(request["framework"])}
    common = request["network"], tuple(request["size"]), request["task"], request["precision"]
    step = our_step(*common) if request["framework"] == "ours" else theirs(*common, request["channels_last"])
    seconds = timed(step, request["steps"])
    return {"seconds": seconds, "memory": peak_bytes()}


def settings() -> list[tuple[str, dict]]:
    """What is compared: our library as it is, and PyTorch in every setting that could be its best."""
    from femur_lib._runtime.machine import cpu_bfloat16

    half = cpu_bfloat16()
    chosen = [("femur_lib, auto", {"framework": "ours", "precision": "auto"})]
    for precision in ("float32", "bfloat16") if half else ("float32",):
        for channels_last in (False, True):
            name = f"PyTorch {precision}{', channels last' if channels_last else ''}"
            chosen.append((name, {"framework": "theirs", "precision": precision, "channels_last": channels_last}))
    return chosen


def main() -> None:
    """Measure and print."""
    if answered(measure):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[256, 256, 48])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--networks", nargs="+", default=["3d-f32-l3", "3d-f32-l4", "3d-f32-l4-d1.2.4.8"])
    a = parser.parse_args()
    from femur_lib.architecture import cost, parse_network

    rates = {
        f: max(in_a_fresh_process(__file__, {"task": "rate", "framework": f})["rate"] for _ in range(2))
        for f in ("ours", "theirs")
    }
    print(f"best rate: TensorFlow {rates['ours']:.0f}, PyTorch {rates['theirs']:.0f} billion operations a second")
    print(f"{'x'.join(map(str, a.size))}, {a.rounds} rounds of {a.steps} steps; ratio to femur_lib\n")
    print(f"{'network':22}{'task':11}{'setting':33}{'s':>7}{'ratio':>7}{'Gop/s':>7}{'of best':>9}{'GB':>6}   all")
    for network in a.networks:
        operations = 2 * cost(parse_network(network), tuple(a.size)).multiplications / 1e9
        for task, times in (("inference", 1), ("training", 3)):
            found: dict[str, list[dict]] = {}
            for _ in range(a.rounds):
                for name, setting in settings():
                    request = {"task": task, "network": network, "size": a.size, "steps": a.steps, **setting}
                    found.setdefault(name, []).append(in_a_fresh_process(__file__, request))
            base = None
            for name, setting in settings():
                seconds = [s for one in found[name] for s in one["seconds"]]
                median = statistics.median(seconds)
                base = base or median
                rate = times * operations / median
                memory = max(one["memory"] for one in found[name]) / 1e9
                print(
                    f"{network:22}{task:11}{name:33}{median:7.2f}{median / base:7.2f}{rate:7.0f}"
                    f"{rate / rates[setting['framework']]:9.0%}{memory:6.1f}   {' '.join(f'{s:.2f}' for s in seconds)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
