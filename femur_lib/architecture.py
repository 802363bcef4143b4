"""What a network is, and the arithmetic of its sizes. Nothing here needs Keras or TensorFlow.

The paper's networks are U-nets in 2D or 3D, padded or not, with a dilated centre or a plain one (Methods, Fig. 6).
"""

from dataclasses import dataclass

CHANNELS_2D = 3  # three consecutive slices; the mask is that of the middle one (Methods)


@dataclass(frozen=True)
class Architecture:
    """One network, as the paper describes it: F initial feature maps, L levels, and so on.

    Attributes:
        dimensions: 2 or 3.
        features: F, maps of the first level; each level has twice as many.
        levels: L, how often the network pools (PAPER.md says why L is read so).
        padded: whether convolutions keep the size. Unpadded ones lose a pixel a side each.
        dilation_rates: rates of the parallel convolutions of the centre; ``(1,)`` is the plain network.
        in_plane_levels: ours, not the paper's: upper levels whose convolutions and pooling stay within a slice,
            for scans whose slices are much thicker than their pixels.
        normalisation: ours, not the paper's: "batch", "group" (one group a map) or None between each convolution
            and its ReLU.
        isotropic_dilation: whether rates of a 3D network act across slices too, not only within them.
        relu_logits: a mistake on purpose, for teaching: ReLU before the softmax, as in related code. A probability
            can then not fall below that of a logit of 0.
        centre_crop: another: copied maps of an unpadded network cropped about their middle, not by geometry.
    """

    dimensions: int
    features: int
    levels: int
    padded: bool = True
    dilation_rates: tuple[int, ...] = (1,)
    in_plane_levels: int = 0
    normalisation: str | None = None
    isotropic_dilation: bool = False
    relu_logits: bool = False
    centre_crop: bool = False

    def __post_init__(self):
        if self.dimensions not in (2, 3):
            raise ValueError(f"dimensions is 2 or 3, got {self.dimensions}")
        if self.features < 1 or self.levels < 1:
            raise ValueError(f"features and levels are at least 1, got {self.features} and {self.levels}")
        if self.dimensions == 3 and not self.padded:
            raise ValueError("the paper's 3D networks are padded; an unpadded 3D one is not built here")
        if not self.padded and self.dilation_rates != (1,):
            raise ValueError("a dilated centre needs padded convolutions: its branches must have one size")
        if (
            not self.dilation_rates
            or min(self.dilation_rates) < 1
            or len(set(self.dilation_rates)) < len(self.dilation_rates)
        ):
            raise ValueError(f"dilation rates are whole numbers from 1, each once, got {self.dilation_rates}")
        if not 0 <= self.in_plane_levels <= (self.levels if self.dimensions == 3 else 0):
            raise ValueError(f"in_plane_levels is 0 to the number of levels, in 3D only, got {self.in_plane_levels}")
        if self.isotropic_dilation and self.dimensions == 2:
            raise ValueError("isotropic_dilation is about the slices of a 3D network; this one is 2D")
        if self.centre_crop and self.padded:
            raise ValueError("centre_crop is about unpadded networks; a padded one crops nothing")
        if self.normalisation not in (None, "batch", "group"):
            raise ValueError(f'normalisation is "batch", "group" or None, got {self.normalisation!r}')

    @property
    def size_multiple(self) -> tuple[int, ...]:
        """What each side of a padded network's input must be a multiple of: 2 to the number of its poolings."""
        in_plane = 2**self.levels
        across = 2 ** max(0, self.levels - self.in_plane_levels)
        return (in_plane, in_plane) if self.dimensions == 2 else (in_plane, in_plane, across)


@dataclass(frozen=True)
class UnpaddedGeometry:
    """Where an unpadded network's output lies in its input, along one axis.

    Attributes:
        size: pixels in.
        output: pixels out.
        before, after: input pixels that have no output, at the start and at the end.
        crops: per level from the top, the pixels (start, end) cut from the copied map before it is concatenated.
    """

    size: int
    output: int
    before: int
    after: int
    crops: tuple[tuple[int, int], ...]


def unpadded_geometry(size: int, levels: int) -> UnpaddedGeometry:
    """Follow one axis through the unpadded 2D U-net.

    A 3 x 3 convolution without padding loses one pixel a side. Pooling halves, and drops the last pixel of an odd
    map. On the way up, a copied map must be cropped so that each of its pixels meets the up-sampled pixel that came
    from the same place: the start of the up-sampled map lies at twice the margin lost below. Cropping by half the
    difference in size instead, as often done, is a pixel or more off wherever a map was odd (at 512 with 4
    levels: 41 and 90 for 40 and 88).

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
