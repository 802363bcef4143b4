"""The peer in gpu.py: the same training step and the same subject in PyTorch, with torch.nn and torch.optim alone.

The network is tests/pytorch_unet.py. A step takes the same batch from memory to the GPU, and waits for the loss, as
ours does. cuDNN may try out its algorithms first, as XLA does; float32 convolutions may use TF32, PyTorch's default.
"""

import statistics
import time

import numpy as np
import torch
from measuring import timed
from pytorch_unet import UNet

from femur_lib._runtime import machine
from femur_lib.config import Settings
from femur_lib.dataset import HipDataset
from femur_lib.inference import Segmenter, grid_probability


class Predictor:
    """A PyTorch network behind the one method of a Keras model that the library asks of it."""

    def __init__(self, network, device: str, half):
        self.network, self.device, self.half = network.eval(), device, half

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, channels last as the images."""
        with torch.inference_mode(), self.half:
            p = self.network(torch.from_numpy(np.ascontiguousarray(x)).to(self.device).movedim(-1, 1))
        return p.float().movedim(1, -1).cpu().numpy()


def measure(request: dict, settings: Settings, batches: HipDataset) -> dict:
    """As :func:`gpu_measure.ours`; the request says whether channels are last in memory, and whether to compile."""
    a, device = settings.architecture, "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    layout = torch.contiguous_format
    if request["channels_last"]:
        layout = torch.channels_last if a.dimensions == 2 else torch.channels_last_3d
    network = UNet(a).to(device, memory_format=layout)
    run = torch.compile(network) if request["compiled"] else network
    half = torch.autocast(device, torch.bfloat16, enabled=settings.precision == "mixed_bfloat16")
    adam = torch.optim.Adam(network.parameters(), settings.profile.learning_rate, fused=device == "cuda")
    weight = torch.tensor([1.0, 8.0], device=device)
    x, y = batches[0]

    def step() -> float:
        images = torch.from_numpy(x).to(device).movedim(-1, 1).contiguous(memory_format=layout)
        masks = torch.from_numpy(y).to(device).long()
        adam.zero_grad()
        with half:
            p = run(images)
        loss = torch.nn.functional.nll_loss(p.float().clamp_min(1e-7).log(), masks, weight)
        loss.backward()
        adam.step()
        return loss.item()  # waits for the device

    started = time.perf_counter()
    step()
    first = time.perf_counter() - started
    answer = {"first_step_s": first, "step_s": statistics.median(timed(step, request["steps"]))}
    answer["peak_bytes"] = torch.cuda.max_memory_allocated() if device == "cuda" else machine.peak_bytes()
    if not request["compiled"]:  # for predictions it would be compiled anew
        segmenter, stack = Segmenter(Predictor(network, device, half), a, settings.grid), batches.samples[0].image
        answer["subject_s"] = statistics.median(timed(lambda: grid_probability(segmenter, stack), 2))
    return answer
