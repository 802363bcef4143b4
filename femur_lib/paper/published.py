"""What the paper printed: its networks and their scores, so that ours can stand beside them.

Copied from Tables 1 to 4 of Deniz et al. 2018 as they are, slips included (PAPER.md names them). These are results on
the paper's private scans; we measured nothing here.
"""

from dataclasses import dataclass
from itertools import combinations

from femur_lib.architecture import PAPER_NETWORKS

SUBJECTS = 86
NETWORKS = PAPER_NETWORKS  # the 18 that the paper trained, in the order of its tables
# The scores of Tables 1 to 3 in their order, and what stands above their columns.
HEADINGS = {
    "dice": "DSC ↑",
    "precision": "Precision ↑",
    "recall": "Recall ↑",
    "asd_mm": "ASD [mm] ↓",
    "msd_mm": "MSD [mm] ↓",
}
SCORES = tuple(HEADINGS)


@dataclass(frozen=True)
class Published:
    """One row of a table: a network, and the mean and standard deviation over 86 subjects of each of ``SCORES``."""

    network: str  # in our words (femur_lib.architecture)
    printed_name: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    average_precision: tuple[float, float] | None = None  # median and interquartile range, in Table 3 alone


def _rows(text: str) -> tuple[Published, ...]:
    """Read rows of ``network | printed name | mean sd mean sd … | median range``."""
    rows = []
    for line in text.strip().splitlines():
        network, name, scores, *precision = (part.strip() for part in line.split("|"))
        numbers = [float(n) for n in scores.split()]
        median, spread = map(float, precision[0].split()) if precision else (0.0, 0.0)
        average_precision = (median, spread) if precision else None
        rows.append(Published(network, name, tuple(numbers[0::2]), tuple(numbers[1::2]), average_precision))
    return tuple(rows)


# "*" marks unpadded convolutions; "PP" is post-processing, which keeps the largest component alone.
TABLE_1 = _rows("""
2d-unpadded-f64-l3 | 2D CNN*, F:64, L:3        | 0.886 0.055  0.890 0.080  0.889 0.056  6.15 3.61  65.78 5.78
2d-unpadded-f64-l4 | 2D CNN*, F:64, L:4        | 0.864 0.044  0.872 0.061  0.860 0.060  6.82 3.00  64.89 6.36
2d-f64-l3          | 2D CNN, F:64, L:3         | 0.924 0.032  0.920 0.041  0.930 0.045  3.13 1.76  54.40 6.72
2d-f64-l4          | 2D CNN, F:64, L:4         | 0.937 0.026  0.932 0.037  0.943 0.036  2.13 1.23  42.22 5.52
2d-f64-l4-d1.2.4.8 | 2D CNN-dilated, F:64, L:4 | 0.946 0.022  0.948 0.024  0.944 0.034  1.75 1.24  40.03 8.37
3d-f16-l3          | 3D CNN, F:16, L:3         | 0.927 0.032  0.931 0.029  0.927 0.063  0.66 0.32  10.62 6.85
3d-f16-l4          | 3D CNN, F:16, L:4         | 0.935 0.028  0.938 0.026  0.936 0.053  0.59 0.39   9.75 6.56
3d-f32-l3          | 3D CNN, F:32, L:3         | 0.942 0.026  0.944 0.022  0.942 0.052  0.50 0.25  11.97 7.57
3d-f32-l4          | 3D CNN, F:32, L:4         | 0.945 0.029  0.948 0.023  0.944 0.052  0.45 0.25  13.44 13.14
3d-f32-l4-d1.2.4.8 | 3D CNN-dilated, F:32, L:4 | 0.953 0.016  0.954 0.017  0.953 0.030  0.39 0.20   7.88 4.33
""")

TABLE_2 = _rows("""
2d-unpadded-f64-l4 | 2D CNN* PP, F:64, L:4 | 0.920 0.040  0.991 0.010  0.861 0.060  0.72 0.38  11.70 3.74
2d-unpadded-f64-l3 | 2D CNN* PP, F:64, L:3 | 0.935 0.034  0.990 0.010  0.889 0.056  0.62 0.36  10.50 3.23
2d-f64-l4          | 2D CNN PP, F:64, L:4  | 0.960 0.022  0.978 0.015  0.943 0.036  0.39 0.44   8.18 5.87
2d-f64-l3          | 2D CNN PP, F:64, L:3  | 0.953 0.027  0.979 0.013  0.930 0.046  0.47 0.37   9.61 4.60
""")

TABLE_3 = _rows("""
3d-f32-l4          | 3D, r = 1          | 0.945 0.029  0.948 0.023  0.944 0.052  0.45 0.25  13.44 13.14 | 0.986 0.002
3d-f32-l4-d1.2     | 3D, r = 1, 2       | 0.950 0.020  0.951 0.017  0.949 0.039  0.43 0.23   8.77 6.32  | 0.988 0.001
3d-f32-l4-d1.4     | 3D, r = 1, 4       | 0.949 0.019  0.948 0.022  0.950 0.036  0.43 0.21   8.10 4.73  | 0.988 0.002
3d-f32-l4-d1.8     | 3D, r = 1, 8       | 0.948 0.015  0.949 0.023  0.948 0.031  0.44 0.19   8.05 4.25  | 0.988 0.003
3d-f32-l4-d1.2.4   | 3D, r = 1, 2, 4    | 0.948 0.023  0.948 0.021  0.949 0.039  0.43 0.24   8.14 5.68  | 0.988 0.002
3d-f32-l4-d1.2.4.8 | 3D, r = 1, 2, 4, 8 | 0.953 0.016  0.954 0.017  0.953 0.030  0.39 0.19   7.88 4.33  | 0.992 0.002
2d-f64-l4          | 2D, r = 1          | 0.937 0.026  0.932 0.036  0.943 0.036  2.13 1.22  42.22 5.49  | 0.979 0.003
2d-f64-l4-d1.2     | 2D, r = 1, 2       | 0.939 0.025  0.937 0.034  0.944 0.037  2.04 1.33  40.10 7.34  | 0.978 0.002
2d-f64-l4-d1.4     | 2D, r = 1, 4       | 0.943 0.022  0.944 0.026  0.944 0.035  1.85 1.13  39.70 7.38  | 0.984 0.000
2d-f64-l4-d1.8     | 2D, r = 1, 8       | 0.941 0.023  0.941 0.030  0.943 0.034  2.04 1.31  42.41 7.60  | 0.984 0.002
2d-f64-l4-d1.2.4   | 2D, r = 1, 2, 4    | 0.941 0.025  0.941 0.033  0.942 0.034  2.02 1.39  40.27 7.76  | 0.984 0.005
2d-f64-l4-d1.2.4.8 | 2D, r = 1, 2, 4, 8 | 0.946 0.022  0.948 0.024  0.944 0.034  1.75 1.24  40.03 8.37  | 0.986 0.002
""")

# Table 4: the symbol of each network against each of those after it, 2D before 3D (its header swaps F, see PAPER.md).
TABLE_4_ORDER = tuple(sorted((row.network for row in TABLE_3), key=lambda name: name[0]))
_TABLE_4_SYMBOLS = """
ns *** ** * *** *** *** *** *** *** ***
ns ns ns ** ** *** *** *** *** ***
ns ns ns ns *** *** *** *** ***
ns * ns *** *** *** *** ***
ns ns *** *** *** *** ***
ns ** *** ** ** ***
*** *** * ** **
ns ns ns ns
ns ns ns
ns **
*
"""
TABLE_4: dict[tuple[str, str], str] = dict(zip(combinations(TABLE_4_ORDER, 2), _TABLE_4_SYMBOLS.split(), strict=True))


@dataclass(frozen=True)
class Comparison:
    """One network does better than another by one score: a claim of the paper."""

    claim: str
    better: str
    worse: str
    score: str  # "dice" or "ap"


def _comparisons() -> tuple[Comparison, ...]:
    best_2d, best_3d = "2d-f64-l4", "3d-f32-l4"  # of those without dilation
    above_2, all_rates = ("-d1.4", "-d1.8", "-d1.2.4"), "-d1.2.4.8"
    layers = ("2d-unpadded-f64", "2d-f64", "3d-f16", "3d-f32")
    pairs = {
        ("More layers do better", "ap"): [(f"{n}-l4", f"{n}-l3") for n in layers],
        ("More maps do better", "ap"): [(f"3d-f32-l{n}", f"3d-f16-l{n}") for n in (3, 4)],
        ("Padding does better", "dice"): [(f"2d-f64-l{n}", f"2d-unpadded-f64-l{n}") for n in (3, 4)],
        ("A dilation rate above 2 raises AP", "ap"): [
            (base + rates, base) for base in (best_2d, best_3d) for rates in (*above_2, all_rates)
        ],
        ("All four rates help most", "ap"): [
            (base + all_rates, base + fewer) for base in (best_2d, best_3d) for fewer in ("-d1.2", *above_2)
        ],
        ("3D, dilated, has a higher AP than 2D", "ap"): [
            (best_3d + all_rates, name) for name in TABLE_4_ORDER if name.startswith("2d")
        ],
    }
    return tuple(Comparison(claim, *pair, score) for (claim, score), of in pairs.items() for pair in of)


# From Results, "Comparison of CNN Performance", with Table 3 and, for padding, Fig. 4; the words are ours.
COMPARISONS = _comparisons()
