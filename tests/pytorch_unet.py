"""The paper's networks once more, in PyTorch and written in another way: an oracle for tests, a peer for benchmarks.

Written from the paper and not from :mod:`femur_lib.unet`: modules in place of a functional graph, channels first,
and crops found by following the coordinates of every map through the network.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as f

KERAS_EPSILON = 1e-3  # what Keras adds to variances; PyTorch's own default is 1e-5


@dataclass
class Map:
    """A feature map, and where its first pixel lies along each axis of the input; its pixels are ``step`` apart."""

    x: torch.Tensor
    first: list[float]
    step: list[int]


class UNet(nn.Module):
    """The network of a :class:`femur_lib.architecture.Architecture`: (N, C, ...) in, probabilities (N, 2, ...) out."""

    def __init__(self, a):
        super().__init__()
        self.a = a
        self.conv = nn.Conv2d if a.dimensions == 2 else nn.Conv3d
        self.up_conv = nn.ConvTranspose2d if a.dimensions == 2 else nn.ConvTranspose3d
        maps, layers = (3 if a.dimensions == 2 else 1), {}
        for level in range(a.levels):
            wide = a.features * 2**level
            layers |= self._pair(f"down{level}", maps, wide, self._kernel(level, 3))
            maps = wide
        centre = a.features * 2**a.levels
        deepest = self._kernel(a.levels, 3)
        layers |= self._one("centre_conv1", maps, centre, deepest)
        for rate in a.dilation_rates:
            layers |= self._one(f"centre_rate{rate}", centre, centre, deepest, [rate, rate, 1][: a.dimensions])
        maps = centre * len(a.dilation_rates)
        for level in reversed(range(a.levels)):
            wide, factor = a.features * 2**level, self._kernel(level, 2)
            layers[f"up{level}"] = self.up_conv(maps, wide, factor, stride=factor)
            layers |= self._pair(f"up{level}", 2 * wide, wide, self._kernel(level, 3))
            maps = wide
        layers["logits"] = self.conv(maps, 2, 1)
        self.layers = nn.ModuleDict(layers)

    def _kernel(self, level: int, width: int) -> list[int]:
        flat = [width, width]
        return flat if self.a.dimensions == 2 else [*flat, 1 if level < self.a.in_plane_levels else width]

    def _one(self, name: str, maps_in: int, maps_out: int, kernel: list[int], dilation: list[int] | None = None):
        dilation = dilation or [1] * len(kernel)
        margin = [d * (k // 2) if self.a.padded else 0 for k, d in zip(kernel, dilation, strict=True)]
        layers = {name: self.conv(maps_in, maps_out, kernel, padding=margin, dilation=dilation)}
        if self.a.normalisation:
            layers[f"{name}_norm"] = nn.GroupNorm(maps_out, maps_out, eps=KERAS_EPSILON)
        return layers

    def _pair(self, path: str, maps_in: int, maps_out: int, kernel: list[int]):
        return self._one(f"{path}_conv1", maps_in, maps_out, kernel) | self._one(
            f"{path}_conv2", maps_out, maps_out, kernel
        )

    def _apply_one(self, name: str, m: Map) -> Map:
        layer = self.layers[name]
        x = layer(m.x)
        if f"{name}_norm" in self.layers:
            x = self.layers[f"{name}_norm"](x)
        settings = zip(layer.kernel_size, layer.dilation, layer.padding, strict=True)
        lost = [(d * (k - 1) - 2 * p) / 2 for k, d, p in settings]
        return Map(f.relu(x), [s + n * t for s, n, t in zip(m.first, lost, m.step, strict=True)], m.step)

    def _apply_pair(self, path: str, m: Map) -> Map:
        return self._apply_one(f"{path}_conv2", self._apply_one(f"{path}_conv1", m))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Probabilities of background and femur."""
        a, pool = self.a, f.max_pool2d if self.a.dimensions == 2 else f.max_pool3d
        m, copied = Map(image, [0.0] * a.dimensions, [1] * a.dimensions), []
        for level in range(a.levels):
            m = self._apply_pair(f"down{level}", m)
            copied.append(m)
            by = self._kernel(level, 2)
            first = [s + t * (b - 1) / 2 for s, t, b in zip(m.first, m.step, by, strict=True)]
            m = Map(pool(m.x, by), first, [t * b for t, b in zip(m.step, by, strict=True)])
        m = self._apply_one("centre_conv1", m)
        branches = [self._apply_one(f"centre_rate{rate}", m) for rate in a.dilation_rates]
        m = Map(torch.cat([b.x for b in branches], 1), branches[0].first, branches[0].step)
        for level in reversed(range(a.levels)):
            by = self._kernel(level, 2)
            step = [t // b for t, b in zip(m.step, by, strict=True)]
            first = [s - t * (b - 1) / 2 for s, t, b in zip(m.first, step, by, strict=True)]
            m = Map(f.relu(self.layers[f"up{level}"](m.x)), first, step)
            skip = copied[level]
            x = skip.x
            for axis in range(a.dimensions):
                start = (m.first[axis] - skip.first[axis]) / step[axis]
                assert start == int(start), "the copied map has no pixel in that place"
                x = x.narrow(2 + axis, int(start), m.x.shape[2 + axis])
            m = self._apply_pair(f"up{level}", Map(torch.cat([x, m.x], 1), m.first, m.step))
        return torch.softmax(self.layers["logits"](m.x), 1)

    def take_weights(self, model) -> "UNet":
        """Take the weights of a Keras network of the same architecture."""
        with torch.no_grad():
            for name, layer in self.layers.items():
                values = [torch.from_numpy(np.ascontiguousarray(w)) for w in model.get_layer(name).get_weights()]
                if name.endswith("_norm"):
                    layer.weight.copy_(values[0])
                    layer.bias.copy_(values[1])
                    continue
                kernel, bias = values  # Keras: (k, k, in, out), and (k, k, out, in) of a transposed convolution
                layer.weight.copy_(kernel.permute(-1, -2, *range(kernel.ndim - 2)))
                layer.bias.copy_(bias)
        return self.eval()

    def probability(self, images: np.ndarray) -> np.ndarray:
        """Keras's channels-last arrays in and out."""
        with torch.inference_mode():
            return self(torch.from_numpy(np.moveaxis(images, -1, 1).copy())).movedim(1, -1).numpy()
