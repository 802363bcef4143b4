import numpy as np
import pytest
from conftest import draw

from femur_lib.masks import largest_component, threshold_mask


def test_only_what_is_higher_than_the_threshold_is_femur():
    p = np.array([0.2, 0.5, 0.50001, 0.9], np.float32)
    np.testing.assert_array_equal(threshold_mask(p, 0.5), [False, False, True, True])


def test_the_largest_piece_is_kept_and_the_others_go():
    mask = draw("""
        ##....#
        ##.....
        ...###.
        ...###.
    """)
    expected = draw("""
        .......
        .......
        ...###.
        ...###.
    """)
    np.testing.assert_array_equal(largest_component(mask), expected)


def test_size_is_counted_over_all_slices():
    mask = draw("""
        ###.#

        ....#

        ....#

        ....#
    """)
    np.testing.assert_array_equal(largest_component(mask)[0, :, 0], [False, False, False, False, True])


@pytest.mark.parametrize(("connectivity", "kept"), [(6, 3), (18, 5), (26, 6)])
def test_connectivity_says_whether_edges_and_corners_touch(connectivity, kept):
    mask = draw("""
        ###...
        ...##.
        ......

        ......
        ......
        .....#
    """)
    assert largest_component(mask, connectivity).sum() == kept


def test_corners_touch_unless_told_otherwise():
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert largest_component(mask).sum() == 2


def test_of_equal_pieces_the_first_is_kept():
    mask = draw("##.##")
    np.testing.assert_array_equal(largest_component(mask), draw("##..."))


def test_an_empty_mask_stays_empty():
    kept = largest_component(np.zeros((3, 3, 3), bool))
    assert kept.dtype == bool
    assert kept.shape == (3, 3, 3)
    assert not kept.any()


def test_a_full_mask_stays_full():
    assert largest_component(np.ones((3, 3, 3), bool)).all()


def test_the_mask_given_is_not_changed():
    mask = draw("##.#")
    largest_component(mask)
    np.testing.assert_array_equal(mask, draw("##.#"))


def test_other_connectivities_are_refused():
    with pytest.raises(ValueError, match="6, 18 or 26, got 8"):
        largest_component(np.ones((2, 2, 2), bool), 8)
