"""What a network is: its name, its sizes, what it sees and what it costs. Nothing here needs Keras.

The paper compares U-nets in 2D and 3D, padded or not, with a plain or a dilated centre (Methods, Fig. 6). A network's
name reads as a row of the paper's tables does: ``3d-f32-l4-d1.2.4.8`` is "3D CNN-dilated, F:32, L:4, rates 1, 2, 4, 8";
``2d-unpadded-f64-l3`` is "2D CNN*, F:64, L:3". Three endings are ours and not the paper's: ``-a2`` keeps the two upper
levels within slices, ``-gn`` normalises every convolution, and ``-s1`` is the same network trained from
another seed, to see how much chance alone changes.
"""

import re
from dataclasses import dataclass, replace
from math import prod

from femur_lib._runtime.errors import DataError

CHANNELS_2D = 3  # three consecutive slices; the mask is that of the middle one (Methods)
NAME = re.compile(
    r"(?P<dimensions>[23])d(?P<unpadded>-unpadded)?-f(?P<features>\d{1,4})-l(?P<levels>\d{1,2})"
    r"(-d(?P<rates>\d{1,3}(\.\d{1,3})*))?(-a(?P<in_plane>\d{1,2}))?(?P<norm>-gn)?(-s(?P<seed>\d{1,9}))?"
)
_DILATED = [f"-d{rates}" for rates in ("1.2", "1.4", "1.8", "1.2.4", "1.2.4.8")]
PAPER_NETWORKS = (  # the 18 networks of Tables 1 and 3
    *("2d-unpadded-f64-l3", "2d-unpadded-f64-l4", "2d-f64-l3", "2d-f64-l4", "2d-f64-l4-d1.2.4.8"),
    *("3d-f16-l3", "3d-f16-l4", "3d-f32-l3", "3d-f32-l4", "3d-f32-l4-d1.2.4.8"),
    *(f"3d-f32-l4{rates}" for rates in _DILATED[:-1]),
    *(f"2d-f64-l4{rates}" for rates in _DILATED[:-1]),
)
ADAM = 4  # numbers kept for each weight: itself, its gradient, and Adam's two moments


@dataclass(frozen=True)
class Architecture:
    """One network, as the paper describes it.

    Attributes:
        dimensions: 2 or 3.
        features: F, the maps of the first level; each further level has twice as many.
        levels: L, how often the network pools (PAPER.md says why L is read so).
        padded: whether convolutions keep the size. An unpadded one loses a pixel on every side.
        dilation_rates: rates of the parallel convolutions at the centre; ``(1,)`` is the plain network.
        in_plane_levels: ours, not the paper's: the upper levels whose convolutions and pooling stay within a slice,
            for scans whose slices are much thicker than their pixels.
        normalisation: ours, not the paper's: "group" (each map by itself) or None, between each convolution and its
            ReLU.
    """

    dimensions: int
    features: int
    levels: int
    padded: bool = True
    dilation_rates: tuple[int, ...] = (1,)
    in_plane_levels: int = 0
    normalisation: str | None = None

    def __post_init__(self):
        rates = self.dilation_rates
        if self.dimensions not in (2, 3):
            raise ValueError(f"dimensions must be 2 or 3, got {self.dimensions}")
        if self.features < 1 or self.levels < 1:
            raise ValueError(f"features and levels must be at least 1, got {self.features} and {self.levels}")
        if self.dimensions == 3 and not self.padded:
            raise ValueError("the paper's 3D networks are padded; an unpadded 3D network is not built here")
        if not self.padded and rates != (1,):
            raise ValueError("a dilated centre needs padded convolutions: its branches must have one size")
        if not rates or min(rates) < 1 or len(set(rates)) < len(rates):
            raise ValueError(f"dilation rates must be different whole numbers of at least 1, got {rates}")
        if not 0 <= self.in_plane_levels <= (self.levels if self.dimensions == 3 else 0):
            raise ValueError(f"in_plane_levels must be 0 to the number of levels, 3D only, got {self.in_plane_levels}")
        if self.normalisation not in ("group", None):
            raise ValueError(f'normalisation must be "group" or None, got {self.normalisation!r}')

    @property
    def channels(self) -> int:
        """Channels of the input: three slices in 2D, one volume in 3D."""
        return CHANNELS_2D if self.dimensions == 2 else 1

    @property
    def size_multiple(self) -> tuple[int, ...]:
        """What each side of a padded network's input must be a multiple of: 2 to the number of its poolings."""
        in_plane = 2**self.levels
        across = 2 ** max(0, self.levels - self.in_plane_levels)
        return (in_plane, in_plane) if self.dimensions == 2 else (in_plane, in_plane, across)


def parse_network(name: str, features_divisor: int = 1, centre_counts_as_level: bool = False) -> Architecture:
    """The architecture that a network's name stands for.

    >>> parse_network("3d-f32-l4-d1.2.4.8").dilation_rates
    (1, 2, 4, 8)

    Args:
        name: such as ``3d-f32-l4-d1.2.4.8``.
        features_divisor: makes every network of a study smaller by one factor; a profile sets it.
        centre_counts_as_level: the other reading of "L" (PAPER.md): the centre is one of the L levels, so the network
            pools L - 1 times.

    Raises:
        DataError: the name does not follow the rule at the top of this file, or the network cannot be built.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise DataError(
            f"{name} is not the name of a network; one such as 3d-f16-l4 or 2d-unpadded-f64-l3 was expected.",
            "Correct the name.",
        )
    try:
        architecture = Architecture(
            dimensions=int(found["dimensions"]),
            features=int(found["features"]),
            levels=int(found["levels"]) - centre_counts_as_level,
            padded=not found["unpadded"],
            dilation_rates=tuple(int(r) for r in (found["rates"] or "1").split(".")),
            in_plane_levels=int(found["in_plane"] or 0),
            normalisation="group" if found["norm"] else None,
        )
    except ValueError as error:
        raise DataError(f"{name} cannot be built: {error}.", "Choose another network.") from None
    return replace(architecture, features=max(1, architecture.features // features_divisor))


def seed_of(name: str) -> int | None:
    """The seed that a name asks its training to start from; None leaves it to the profile."""
    found = NAME.fullmatch(name)
    return int(found["seed"]) if found and found["seed"] else None


def without_seed(name: str) -> str:
    """The name of the same network, trained from the profile's seed."""
    return re.sub(r"-s\d+$", "", name)


def with_features(name: str, features: int) -> str:
    """The name of the same network with another number of initial feature maps."""
    return re.sub(r"-f\d+-", f"-f{features}-", name)


@dataclass(frozen=True)
class UnpaddedGeometry:
    """Where an unpadded network's output lies in its input, along one axis.

    Attributes:
        size: pixels of the input.
        output: pixels of the output.
        before, after: input pixels without an output, at the start and at the end.
        crops: for each level from the top, the pixels (start, end) cut off the copied map before it is concatenated.
    """

    size: int
    output: int
    before: int
    after: int
    crops: tuple[tuple[int, int], ...]


def unpadded_geometry(size: int, levels: int) -> UnpaddedGeometry:
    """Follow one axis through the unpadded 2D U-net.

    A 3 x 3 convolution without padding loses one pixel on every side. Pooling halves a map and drops the last pixel
    of an odd one. On the way up, a copied map must be cropped so that each of its pixels meets the up-sampled pixel
    that came from the same place: the up-sampled map starts at twice the margin lost below it. Cropping half of the
    difference in size instead, as is often done, is a pixel or more off wherever a map was odd (at 512 pixels with 4
    levels: 41 and 90 instead of 40 and 88).

    >>> unpadded_geometry(572, 4).output  # the original U-net's size
    388
    >>> unpadded_geometry(512, 4)
    UnpaddedGeometry(size=512, output=324, before=92, after=96, crops=((88, 92), (40, 42), (16, 17), (4, 4)))

    Raises:
        ValueError: the input is too small to have an output.
    """
    skips = []
    n = size
    for _ in range(levels):
        skips.append(n - 4)
        n = (n - 4) // 2
    n -= 4
    lost = 2  # pixels lost before the current map, counted from where its level was entered
    crops: list[tuple[int, int]] = []
    for skip in reversed(skips):
        start = 2 * lost
        end = skip - start - 2 * n
        crops.append((start, end))
        n = 2 * n - 4
        lost = start + 4
    if n < 1:
        raise ValueError(f"an unpadded network with {levels} levels has no output for an input of {size} pixels")
    return UnpaddedGeometry(size, n, lost, size - n - lost, tuple(reversed(crops)))


def size_for_output(output: int, levels: int) -> int:
    """The smallest input of an unpadded network whose output has at least so many pixels."""
    size = output
    while True:
        try:
            if unpadded_geometry(size, levels).output >= output:
                return size
        except ValueError:
            pass
        size += 1


def pass_size(architecture: Architecture, rows: int, columns: int) -> tuple[int, int]:
    """The input size of an unpadded network that answers for a whole slice in one pass."""
    return size_for_output(rows, architecture.levels), size_for_output(columns, architecture.levels)


def input_size(architecture: Architecture, rows: int, columns: int, patches: str = "nine") -> tuple[int, int] | None:
    """Rows and columns that an unpadded network is built for; None for a padded one, which takes any size."""
    if architecture.padded:
        return None
    return (rows, columns) if patches == "nine" else pass_size(architecture, rows, columns)


def receptive_field(architecture: Architecture, position: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """First and last input voxel, along each axis, that one output voxel of a padded network depends on.

    We follow the voxel backwards through the network, layer by layer. A convolution of width 3 and rate r widens the
    interval by r on both sides. A pooled voxel comes from two voxels; an up-sampled one comes from one, at half its
    index, so what a voxel sees depends a little on where it lies within its block of 2^poolings.

    >>> receptive_field(parse_network("2d-f8-l2"), (48, 48))
    ((26, 69), (26, 69))

    Args:
        architecture: a padded network. A normalisation, which makes every voxel depend weakly on all, is left out.
        position: of the output voxel, along each axis.

    Returns:
        One (first, last) for each axis, on an endless input: negative where the voxel sees the padding.

    Raises:
        ValueError: the network is unpadded; its field is that of the padded network, moved.
    """
    if not architecture.padded:
        raise ValueError("the receptive field of an unpadded network is that of the padded one")
    return tuple(_along_axis(architecture, axis, at) for axis, at in enumerate(position))


def _along_axis(a: Architecture, axis: int, at: int) -> tuple[int, int]:
    across_slices = axis == 2
    convolved = [not (across_slices and level < a.in_plane_levels) for level in range(a.levels + 1)]
    first = last = at
    for level in range(a.levels):  # backwards through the expanding path, from the output down
        if convolved[level]:
            first, last = (first - 2) // 2, (last + 2) // 2  # two convolutions, then the up-convolution
    rate = 1 if across_slices else max(a.dilation_rates)
    if convolved[a.levels]:
        first, last = first - 1 - rate, last + 1 + rate
    for level in reversed(range(a.levels)):  # and up through the contracting path
        if convolved[level]:
            first, last = 2 * first - 2, 2 * last + 1 + 2  # the pooling, then two convolutions
    return first, last


@dataclass(frozen=True)
class Cost:
    """What one network costs on inputs of one size.

    Attributes:
        weights: how many numbers are trained.
        multiplications: those of all convolutions, for one input.
        activations: how many numbers all layers put out, for one input.
        widest: how many numbers the largest layer takes in and puts out.
    """

    weights: int
    multiplications: int
    activations: int
    widest: int

    def training_bytes(self, batch: int = 1, bytes_per_number: int = 4) -> int:
        """The least memory of a training step: every activation is kept for the way back; weights are float32."""
        return 4 * ADAM * self.weights + bytes_per_number * batch * self.activations

    def state_bytes(self, averaged: bool = False) -> int:
        """What a training goes on with: weights, Adam's two moments, and averages of the weights if it takes them."""
        return 4 * (ADAM if averaged else ADAM - 1) * self.weights

    def inference_bytes(self) -> int:
        """The least memory of a prediction: it holds only the copied maps and the layer at work."""
        return 4 * (self.weights + self.widest)


def cost(architecture: Architecture, size: tuple[int, ...]) -> Cost:
    """Count a network's weights, multiplications and activations, layer by layer.

    >>> cost(parse_network("3d-f32-l4"), (256, 256, 48)).weights
    22575362

    Args:
        architecture: the network.
        size: of the input, without channels; of a padded network a multiple of ``architecture.size_multiple``.

    Raises:
        ValueError: a size that a padded network's poolings do not divide, or too small for an unpadded one.
    """
    a = architecture
    if len(size) != a.dimensions:
        raise ValueError(f"a size has {a.dimensions} numbers, got {size}")
    if a.padded and any(n % m for n, m in zip(size, a.size_multiple, strict=True)):
        raise ValueError(f"the size must be a multiple of {a.size_multiple}, got {size}")
    if not a.padded:
        [unpadded_geometry(n, a.levels) for n in size]  # raises where nothing would come out
    count = _Count(a, list(size))
    maps, copied = a.channels, []
    for level in range(a.levels):
        wide = a.features * 2**level
        count.convolution(maps, wide, level)
        count.convolution(wide, wide, level)
        copied.append(wide * count.voxels())
        count.kept += copied[-1]
        count.n = [n // k for n, k in zip(count.n, count.kernel(level, 2), strict=True)]
        count.store(wide)  # pooled
        maps = wide
    centre = a.features * 2**a.levels
    count.convolution(maps, centre, a.levels)
    before = list(count.n)
    for _ in a.dilation_rates:
        count.n = list(before)
        count.convolution(centre, centre, a.levels)
    maps = centre * len(a.dilation_rates)
    if len(a.dilation_rates) > 1:
        count.store(maps)  # side by side
    for level in reversed(range(a.levels)):
        wide = a.features * 2**level
        count.up_convolution(maps, wide, level)
        if not a.padded:
            count.store(wide)  # the copied map, cropped
        count.store(2 * wide)  # beside the up-sampled one
        count.kept -= copied[level]
        count.convolution(2 * wide, wide, level)
        count.convolution(wide, wide, level)
        maps = wide
    count.convolution(maps, 2, a.levels, width=1, stages=1)
    count.store(2)  # softmax
    return Cost(count.weights, count.multiplications, count.activations, count.widest)


class _Count:
    """The sums so far, and the size ``n`` of the map at hand."""

    def __init__(self, architecture: Architecture, size: list[int]):
        self.a, self.n = architecture, size
        self.weights = self.multiplications = self.activations = self.widest = self.kept = 0

    def voxels(self) -> int:
        return prod(self.n)

    def kernel(self, level: int, width: int) -> list[int]:
        in_plane = [width, width]
        return in_plane if self.a.dimensions == 2 else [*in_plane, 1 if level < self.a.in_plane_levels else width]

    def store(self, maps: int) -> None:
        self.activations += maps * self.voxels()

    def convolution(self, maps_in: int, maps_out: int, level: int, width: int = 3, stages: int = 2) -> None:
        """``stages`` outputs are stored: the convolution's, its normalisation's, its ReLU's."""
        kernel, entered = self.kernel(level, width), maps_in * self.voxels()
        if not self.a.padded:
            self.n = [n - k + 1 for n, k in zip(self.n, kernel, strict=True)]
        self.weights += prod(kernel) * maps_in * maps_out + maps_out
        if self.a.normalisation and stages == 2:
            self.weights += 2 * maps_out
            stages = 3
        self.multiplications += prod(kernel) * maps_in * maps_out * self.voxels()
        self.store(stages * maps_out)
        self.widest = max(self.widest, self.kept + entered + maps_out * self.voxels())

    def up_convolution(self, maps_in: int, maps_out: int, level: int) -> None:
        kernel, entered = self.kernel(level, 2), self.voxels()
        self.n = [n * k for n, k in zip(self.n, kernel, strict=True)]
        self.weights += prod(kernel) * maps_in * maps_out + maps_out
        self.multiplications += prod(kernel) * maps_in * maps_out * entered
        self.store(maps_out)
        self.widest = max(self.widest, self.kept + maps_in * entered + maps_out * self.voxels())
