"""What an output voxel sees, computed by hand and by the program, and measured by gradient."""

import pytest

from femur_lib.architecture import Architecture
from femur_lib.networks import unet
from femur_lib.receptive_field import measured_receptive_field, receptive_field


def width(field: tuple[int, int]) -> int:
    return field[1] - field[0] + 1


def test_one_level_by_hand():
    """Backwards: two convolutions, halved, two convolutions, doubled, two convolutions."""
    # 8 <- 6..10 <- 3..5 <- 1..7 <- 2..15 <- 0..17; and 10 <- 8..12 <- 4..6 <- 2..8 <- 4..17 <- 2..19
    assert receptive_field(Architecture(2, 1, 1), (8, 9)) == ((0, 17), (0, 17))
    assert receptive_field(Architecture(2, 1, 1), (8, 10))[1] == (2, 19)


def test_dilation_widens_the_field_within_slices_only():
    plain = receptive_field(Architecture(3, 1, 2), (64, 64, 16))
    dilated = receptive_field(Architecture(3, 1, 2, dilation_rates=(1, 4)), (64, 64, 16))
    assert [width(d) - width(p) for p, d in zip(plain, dilated, strict=True)] == [24, 24, 0]
    isotropic = Architecture(3, 1, 2, dilation_rates=(1, 4), isotropic_dilation=True)
    assert width(receptive_field(isotropic, (64, 64, 16))[2]) - width(plain[2]) == 24


@pytest.mark.parametrize(
    ("architecture", "shape", "position"),
    [
        (Architecture(2, 2, 1), (32, 32), (13, 16)),
        (Architecture(2, 2, 2), (64, 64), (29, 34)),
        (Architecture(2, 2, 2, dilation_rates=(1, 2)), (80, 72), (39, 34)),
        (Architecture(3, 2, 1), (28, 28, 24), (12, 13, 11)),
        (Architecture(3, 2, 1, dilation_rates=(1, 2)), (32, 32, 24), (15, 16, 11)),
        (Architecture(3, 2, 1, dilation_rates=(1, 2), isotropic_dilation=True), (32, 32, 32), (15, 16, 14)),
        (Architecture(3, 2, 2, in_plane_levels=1), (60, 60, 24), (29, 30, 11)),
    ],
    ids=str,
)
def test_what_is_computed_is_what_is_measured(architecture, shape, position):
    computed = receptive_field(architecture, position)
    assert all(first >= 0 and last < n for (first, last), n in zip(computed, shape, strict=True))  # nothing cut off
    model = unet(architecture)
    before = model.get_weights()
    channels = 3 if architecture.dimensions == 2 else 1
    assert measured_receptive_field(model, shape, position, channels) == computed
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))  # the weights are put back


def test_an_unpadded_network_is_refused():
    with pytest.raises(ValueError, match="unpadded"):
        receptive_field(Architecture(2, 1, 1, padded=False), (8, 8))
