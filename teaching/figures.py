"""The pictures of slides.md, one function each. They use the library's own functions, or computations shown here.

Scans are synthetic hips, and the titles say so. The paper's numbers come from femur_lib.paper.published. Nothing is
trained.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from femur_lib._runtime.files import read_csv
from femur_lib.architecture import Architecture, receptive_field, unpadded_geometry
from femur_lib.course.anatomy import draw_anatomy
from femur_lib.inference import largest_component, mirror, patch_starts
from femur_lib.metrics.overlap import overlap
from femur_lib.metrics.surface_distance import distances
from femur_lib.paper.published import TABLE_1, TABLE_2
from femur_lib.phantom.scanner import taken_apart
from femur_lib.phantom.subject import draw_person
from femur_lib.plotting import PREDICTED, TRUTH, png, show_slice

FIGURES: dict[str, Callable[[], Figure]] = {}
GREEN, RED, BLUE = "#009E73", "#D55E00", "#0072B2"
SLICE, PIXELS, SLICES = 35, 256, 60
SYNTHETIC = "synthetic hip"
ROOT = Path(__file__).parents[1]


def figure(function: Callable[[], Figure]) -> Callable[[], Figure]:
    """Make a function available to slides.md under its own name."""
    FIGURES[function.__name__] = function
    return function


def draw(name: str) -> bytes:
    """A figure as PNG."""
    with plt.rc_context({"font.size": 13, "axes.titlesize": 14}):
        return png(FIGURES[name](), 120)


@cache
def parts(cyst_mm: float = 0.0, fold_over: float = 0.0, ghost: float = 0.0) -> dict[str, np.ndarray]:
    """One slice of one synthetic woman, step by step."""
    woman = draw_person(seed=0, k=3)
    protocol = replace(woman.protocol, fold_over=fold_over, ghost=ghost)
    woman = replace(woman, hip=replace(woman.hip, cyst_radius=cyst_mm), protocol=protocol)
    return taken_apart(woman, SLICE, PIXELS, SLICES)


def panels(count: int, size: tuple[float, float] = (11.5, 4.6)) -> tuple[Figure, list]:
    """A row of empty axes."""
    made, axes = plt.subplots(1, count, figsize=size, layout="constrained", squeeze=False)
    return made, list(axes[0])


def frame(ax, row: float, column: float, height: float, width: float, **style) -> None:
    """Draw a frame around pixels."""
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), width, height, fill=False, linewidth=2.2, **style))


@figure
def anatomy() -> Figure:
    """The parts of a hip by name."""
    return draw_anatomy((11.5, 4.8))


@figure
def flipped() -> Figure:
    """The left-right axis of an array reversed, together with its affine and without it."""
    made, axes = panels(3)
    image = parts()["noise"]
    titles = ("as it came", "array flipped, affine too", "array flipped, affine forgotten")
    for ax, title, shown in zip(axes, titles, (image, image, image[:, ::-1]), strict=True):
        show_slice(ax, shown)
        ax.set(title=title, xlabel="patient's right  →  patient's left")
    return made


@figure
def scanner() -> Figure:
    """What the scanner adds, in four steps."""
    made, axes = panels(4, (13, 4))
    steps = parts(fold_over=0.8, ghost=0.15)
    titles = {
        "fat + water": "what is there",
        "received": "+ coils",
        "fold-over": "+ fold-over",
        "noise": "+ ghosts, noise",
    }
    for ax, (step, title) in zip(axes, titles.items(), strict=True):
        show_slice(ax, steps[step], limits=(0, float(np.percentile(steps["noise"], 99))))
        ax.set_title(title)
    return made


@figure
def imbalance() -> Figure:
    """Femur in five of a hundred voxels."""
    made, (ax,) = panels(1, (5.2, 4.6))
    voxels = np.zeros((10, 10))
    voxels[4:9, 6] = 1
    ax.imshow(voxels, cmap="cividis", vmin=0, vmax=1.2)
    for at in range(11):
        ax.axhline(at - 0.5, color="w", lw=1)
        ax.axvline(at - 0.5, color="w", lw=1)
    answer = overlap(voxels[..., None] > 0, np.zeros((10, 10, 1), bool))
    ax.set_title(f"all background: accuracy {1 - voxels.mean():.2f}, Dice {answer['dice']:.0f}")
    ax.set(xticks=[], yticks=[])
    return made


@figure
def folds() -> Figure:
    """86 women, four folds."""
    made, (ax,) = panels(1, (11.5, 3))
    sizes = np.array([21, 21, 22, 22])
    owner = np.repeat(np.arange(4), sizes)
    ax.imshow((owner == np.arange(4)[:, None]).astype(float), cmap="Blues", vmin=-0.25, vmax=1.3, aspect="auto")
    ax.set_yticks(range(4), [f"network {n + 1}" for n in range(4)])
    ax.set(xlabel="86 women; dark: held out and scored, light: trained on")
    return made


@figure
def unet() -> Figure:
    """The paper's 3D network (Fig. 6) in boxes, with the sizes computed."""
    made, (ax,) = panels(1, (12, 5))
    depth = 4
    for level in range(depth + 1):
        n = 256 // 2**level
        text = f"{n} × {n} × {48 // 2**level}\n{32 * 2**level} maps"
        for x in {level, 2 * depth - level}:
            ax.text(x, -level, text, ha="center", va="center", fontsize=12, bbox={"fc": "#cfe6f5", "ec": TRUTH})
        if level < depth:
            right = 2 * depth - level
            for start, end, colour, gap in (
                ((level, -level), (right, -level), "0.6", 58),
                ((level, -level), (level + 1, -level - 1), BLUE, 30),
                ((right - 1, -level - 1), (right, -level), RED, 30),
            ):
                arrow = {"arrowstyle": "->", "color": colour, "shrinkA": gap, "shrinkB": gap, "lw": 1.8}
                ax.annotate("", end, start, arrowprops=arrow)
    for colour, what in (
        ("0.6", "copied"),
        (BLUE, "two convolutions, pooling"),
        (RED, "up-convolution, two convolutions"),
    ):
        ax.plot([], [], color=colour, label=what)
    ax.set(xlim=(-0.7, 2 * depth + 0.7), ylim=(-depth - 0.5, 0.5))
    ax.legend(loc="lower left", frameon=False)
    ax.axis("off")
    return made


def _mirrored(levels: int = 4):
    image = parts()["noise"]
    geometry = unpadded_geometry(len(image), levels)
    return image, geometry, mirror(image[None, ..., None], geometry, geometry)[0, ..., 0]


@figure
def answered() -> Figure:
    """The part of a slice that one pass answers for, and the mirrored image."""
    made, (left, right) = panels(2)
    image, g, larger = _mirrored(3)
    show_slice(left, image, parts()["anatomy"] == 1)
    frame(left, g.before, g.before, g.output, g.output, color="w", ls="--")
    left.set_title(f"{g.size} in, {g.output} out (white), three poolings")
    show_slice(right, larger)
    frame(right, g.before, g.before, g.size, g.size, color=PREDICTED, ls="--")
    right.set_title(f"mirrored to {len(larger)}; orange: the image")
    return made


@figure
def nine() -> Figure:
    """Where each of the nine patches answers, at the paper's 512 pixels."""
    made, (left, right) = panels(2)
    g = unpadded_geometry(512, 4)
    starts, count = patch_starts(g), np.zeros((512, 512))
    left.imshow(np.ones((512, 512)), cmap="gray", vmin=0, vmax=1.1)
    for i, (r, c) in enumerate((r, c) for r in starts for c in starts):
        count[r : r + g.output, c : c + g.output] += 1
        inset = 2.5 + 2.2 * i
        frame(left, r + inset, c + inset, g.output - 2 * inset, g.output - 2 * inset, color=plt.cm.tab10(i))
    left.set(title=f"starts {starts}, {g.output} pixels each", xlabel="column", ylabel="row")
    drawn = right.imshow(count, cmap="viridis", vmin=0, vmax=9)
    right.set(title="how many patches answer", xlabel="column")
    made.colorbar(drawn, ax=right, ticks=[1, 2, 3, 4, 6, 9])
    return made


@figure
def blocks() -> Figure:
    """Pooling blocks of two patches, shifted by a multiple of the block's size or by something else."""
    made, axes = panels(2, (11.5, 2.9))
    for ax, shift in zip(axes, (16, 14), strict=True):
        for row, start in enumerate((0, shift)):
            for number, at in enumerate(range(start, start + 48, 16)):
                colour = (TRUTH, PREDICTED)[row]
                ax.add_patch(Rectangle((at, -row), 16, 0.7, fc=colour, alpha=0.45 if number % 2 else 0.8, ec="k"))
        agree = "same blocks, same answer" if shift % 16 == 0 else "other blocks, other answer"
        ax.set(title=f"shifted by {shift}: {agree}", xlim=(-2, 68), ylim=(-1.2, 1), yticks=[], xlabel="pixel")
    return made


@figure
def shares() -> Figure:
    """In which levels the parameters, the work and the memory of F 32, L 4 are."""
    made, (ax,) = panels(1, (10.5, 4.2))
    f, rows = [32 * 2**n for n in range(5)], []
    for level in range(4):
        rows += [(level, f[level - 1] if level else 1, f[level], 27), (level, f[level], f[level], 27)]
    rows += [(4, f[3], f[4], 27), (4, f[4], f[4], 27)]
    for level in range(4):
        rows += [
            (level, f[level + 1], f[level], 8),
            (level, 2 * f[level], f[level], 27),
            (level, f[level], f[level], 27),
        ]
    rows.append((0, f[0], 2, 1))
    level, into, out, kernel = np.array(rows, float).T
    voxels = 256 * 256 * 48 / 8**level
    amounts = {
        "parameters": (kernel * into * out + out, PREDICTED),
        "work": (voxels * np.where(kernel == 8, 1, kernel) * into * out, TRUTH),
        "memory of maps": (voxels * out, GREEN),
    }
    for n, (name, (values, colour)) in enumerate(amounts.items()):
        summed = np.array([values[level == k].sum() for k in range(5)])
        ax.bar(np.arange(5) + 0.27 * (n - 1), 100 * summed / summed.sum(), 0.26, label=name, color=colour)
    ax.set_xticks(range(5), ["level 1", "level 2", "level 3", "level 4", "centre"])
    ax.set(ylabel="share of the whole [%]")
    ax.legend(frameon=False)
    return made


@figure
def field() -> Figure:
    """The rows that the middle voxel's output depends on, for a plain and a dilated network."""
    made, (ax,) = panels(1, (11, 3.9))
    plain = Architecture(dimensions=3, features=32, levels=4)
    networks = {"rates 1": plain, "rates 1, 2, 4, 8": replace(plain, dilation_rates=(1, 2, 4, 8))}
    for y, (name, network) in enumerate(networks.items()):
        low, high = receptive_field(network, (128, 128, 24))[0]
        ax.barh(-y, high - low + 1, left=low, height=0.35, color=(TRUTH, PREDICTED)[y])
        label = f"{name}: {low} to {high}, {high - low + 1} voxels".replace("-", "−")
        ax.text(128, 0.42 - y, label, ha="center", va="center")
    ax.axvspan(0, 255, color="0.85", zorder=0, label="the image, 0 to 255")
    ax.axvline(128, color="k", ls="--", lw=1, label="the output voxel, 128")
    ax.set(yticks=[], xlabel="row", xlim=(-90, 345), ylim=(-1.75, 0.6))
    ax.legend(frameon=False, loc="lower left", fontsize=10, ncols=2)
    return made


@figure
def lazy() -> Figure:
    """The loss of a network that says p for every voxel, where 10 % of them are femur."""
    made, (ax,) = panels(1, (10, 4.2))
    p, share = np.linspace(0.002, 0.998, 500), 0.1
    for name, (w_b, w_f) in {"no weights": (1, 1), "N / N_class": (1 / (1 - share), 1 / share)}.items():
        loss = -share * w_f * np.log(p) - (1 - share) * w_b * np.log(1 - p)
        (line,) = ax.plot(p, loss, lw=2.5, label=f"{name}: smallest at p = {p[loss.argmin()]:.2f}")
        ax.plot(p[loss.argmin()], loss.min(), "o", ms=10, color=line.get_color())
    ax.set(xlabel="p, the same for every voxel", ylabel="loss", ylim=(0, 5))
    ax.legend(frameon=False)
    return made


@figure
def odds() -> Figure:
    """What class weights make of a probability, where 10 % of the voxels are femur."""
    made, (ax,) = panels(1, (7, 4.4))
    true = np.linspace(0, 1, 300)
    ax.plot(true, 9 * true / (9 * true + 1 - true), lw=2.5, color=PREDICTED, label="odds times 9")
    ax.plot(true, true, ls="--", color="0.5", label="unweighted")
    ax.plot(0.5, 0.9, "o", ms=10, color=RED, label="true 0.5 becomes 0.9")
    ax.set(xlabel="true probability of femur", ylabel="what a perfectly trained network says")
    ax.legend(frameon=False, loc="lower right")
    return made


@figure
def stopping() -> Figure:
    """The stopping rule on a made-up curve."""
    made, (ax,) = panels(1, (11, 4))
    epoch = np.arange(1, 61)
    accuracy = 0.97 - 0.06 * np.exp(-epoch / 9) + 0.0015 * np.sin(1.7 * epoch) * (epoch < 44)
    accuracy[43:] = accuracy[42] - 0.001
    best, waited, stop = -np.inf, 0, 60
    for n in range(30, 60):  # epoch 31 is the first that counts
        waited += 1
        if accuracy[n] - 1e-4 > best:
            best, waited, peak = accuracy[n], 0, n
        elif waited >= 10:
            stop = n + 1
            break
    ax.axvspan(0.5, 30.5, color="0.9", label="30 exempt epochs")
    ax.plot(epoch[:stop], accuracy[:stop], marker=".", color=PREDICTED)
    ax.plot(peak + 1, accuracy[peak], "o", ms=13, mfc="none", color="k", label="best that counts")
    ax.axvline(stop, color=RED, ls="--", label=f"stopped after epoch {stop}")
    ax.set(xlabel="epoch", ylabel="validation accuracy (made up)", xlim=(0.5, 60))
    ax.legend(frameon=False, loc="lower right")
    return made


@figure
def counts() -> Figure:
    """The four kinds of voxels: the exact mask compared with a shifted copy of itself."""
    made, (left, right) = panels(2)
    truth = parts()["anatomy"] == 1
    guess = np.roll(truth, (4, 7), (0, 1))
    show_slice(left, parts()["noise"], truth, guess)
    kinds = np.select([truth & guess, guess, truth], [3, 2, 1])
    colours = plt.matplotlib.colors.ListedColormap(["0.15", RED, "#F0E442", TRUTH])
    drawn = right.imshow(kinds, cmap=colours, vmin=-0.5, vmax=3.5)
    made.colorbar(drawn, ax=right).set_ticks(range(4), labels=["TN", "FN", "FP", "TP"])
    right.set(xticks=[], yticks=[])
    left.set_title("blue: mask; orange: the same, moved by hand")
    scores = overlap(truth[..., None], guess[..., None])
    right.set_title(", ".join(f"{k} {scores[k]:.2f}" for k in ("precision", "recall", "dice")).replace("dice", "Dice"))
    return made


@figure
def surfaces() -> Figure:
    """The toy example of notebook 05: a square that is moved by one column and has a spur."""
    made, (ax,) = panels(1, (8, 4.6))
    spacing = (1.0, 1.0, 3.0)
    square, guess = np.zeros((2, 16, 20, 5), bool)
    square[4:12, 4:12, 1:4] = True
    guess[4:12, 5:13, 1:4] = True
    guess[7:9, 12:18, 2] = True
    ax.imshow(square[..., 2] * 1.0 + 2 * guess[..., 2], cmap="Blues", vmin=0, vmax=4)
    for mask, colour, label in ((square, BLUE, "manual"), (guess, PREDICTED, "predicted")):
        edge = np.kron(mask[..., 2], np.ones((20, 20)))  # so that corners are square
        at = (np.arange(320) - 9.5) / 20, (np.arange(400) - 9.5) / 20
        ax.contour(at[1], at[0], edge, [0.5], colors=colour, linewidths=2.5)
        ax.plot([], [], color=colour, label=label)
    found = distances(square, guess, spacing)
    dice = overlap(square, guess)["dice"]
    ax.annotate("", (11, 7.5), (17, 7.5), arrowprops={"arrowstyle": "<->"})
    ax.set(title=f"ASD {found['asd_mm']:.2f} mm, MSD {found['msd_mm']:.0f} mm, Dice {dice:.3f}", xlabel="column [mm]")
    ax.legend(frameon=False, loc="upper right")
    return made


@figure
def component() -> Figure:
    """A mask with pieces added by hand, and its largest piece."""
    made, axes = panels(3)
    truth = parts()["anatomy"] == 1
    rows, columns = np.indices(truth.shape)
    rough = truth.copy()
    for r, c, radius in ((40, 30, 12), (200, 60, 9), (90, 225, 7)):
        rough |= (rows - r) ** 2 + (columns - c) ** 2 < radius**2
    kept = largest_component(rough[..., None])[..., 0]
    for ax, mask, name in zip(axes[1:], (rough, kept), ("pieces added by hand", "the largest piece"), strict=True):
        show_slice(ax, parts()["noise"], predicted=mask)
        ax.set_title(f"{name}: precision {overlap(truth[..., None], mask[..., None])['precision']:.2f}")
    show_slice(axes[0], parts()["noise"], truth)
    axes[0].set_title(f"{SYNTHETIC}, exact mask")
    return made


@figure
def tables() -> Figure:
    """Dice without and with post-processing, as printed in Tables 1 and 2 of the paper."""
    made, (ax,) = panels(1, (11.5, 4.6))
    with_pp = {row.network: row.mean[0] for row in TABLE_2}
    rows = [row for row in TABLE_1 if row.network in with_pp or row.network == "3d-f32-l4-d1.2.4.8"]
    for y, row in enumerate(reversed(rows)):
        name = row.printed_name.replace("2D CNN*", "2D CNN, unpadded")
        ax.plot(row.mean[0], y, "o", ms=11, color=TRUTH, label="without" if y == 0 else None)
        ax.text(row.mean[0], y + 0.18, f"{row.mean[0]:.3f}", ha="center")
        if row.network in with_pp:
            ax.plot(with_pp[row.network], y, "D", ms=10, color=RED, label="largest piece" if y == 1 else None)
            ax.text(with_pp[row.network], y + 0.18, f"{with_pp[row.network]:.3f}", ha="center")
        ax.text(0.853, y, name, va="center", ha="right")
    ax.set(
        xlabel="mean Dice over 86 women (Tables 1 and 2)", yticks=[], xlim=(0.855, 0.97), ylim=(-0.5, len(rows) - 0.3)
    )
    ax.legend(frameon=False, loc="lower left")
    return made


@figure
def failures() -> Figure:
    """A hip as it is, with a cyst, and folded over as well."""
    made, axes = panels(3)
    variants = {"as she is": parts(), "with a cyst": parts(8.0), "and folded over": parts(8.0, 0.8)}
    for ax, (title, steps) in zip(axes, variants.items(), strict=True):
        show_slice(ax, steps["noise"], steps["anatomy"] == 1)
        ax.set_title(f"{SYNTHETIC}, {title}" if title == "as she is" else title)
    return made


@figure
def half_millimetre() -> Figure:
    """A head of 46 mm, and a border half a millimetre too far out."""
    made, (ax,) = panels(1, (5.6, 4.6))
    for radius, colour, label in ((23.0, TRUTH, "true, 46 mm"), (23.5, PREDICTED, "0.5 mm too far out, 47 mm")):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, ec=colour, lw=2, label=label))
    volume, dice = (47 / 46) ** 3 - 1, 2 * 46**3 / (46**3 + 47**3)
    ax.set(title=f"diameter + 1 mm, volume + {volume:.1%}, Dice {dice:.3f}", xlim=(-26, 26), ylim=(-26, 26))
    ax.set(aspect="equal", xlabel="mm")
    ax.legend(frameon=False, loc="center")
    return made


@figure
def smallest_p() -> Figure:
    """The smallest p of a two-sided signed-rank test, and what Holm's correction for 66 pairs makes of it."""
    made, (ax,) = panels(1, (11, 4))
    scans = np.arange(3, 17)
    for pairs, colour, name in ((1, TRUTH, "one pair of networks"), (66, PREDICTED, "the best of 66 pairs, by Holm")):
        ax.plot(scans, np.minimum(1, pairs * 2.0 / 2.0**scans), "o-", color=colour, label=name)
    ax.plot(6, 2 / 2**6, "o", ms=15, mfc="none", color="k")
    ax.annotate(f"six scans: {2 / 2**6:.3f}", (6, 2 / 2**6), (3.2, 0.004))
    ax.axhline(0.05, color="0.5", ls="--", label="0.05")
    ax.set(xlabel="scans, all of them in favour of one network", ylabel="smallest p", yscale="log")
    ax.legend(frameon=False)
    return made


@figure
def claims() -> Figure:
    """The verdicts of the workshop study, claim by claim."""
    made, (ax,) = panels(1, (11.5, 4.8))
    found = read_csv(ROOT / "results/workshop/tables/claims.csv", ["difference"], "Run femur study workshop.")
    verdicts = {"holds": GREEN, "does not hold": RED, "cannot be told": "0.75"}
    counted = found.groupby(["claim", "verdict"], sort=False).size().unstack(fill_value=0)
    counted = counted.loc[list(dict.fromkeys(found.claim))[::-1]]
    start = np.zeros(len(counted))
    for verdict, colour in verdicts.items():
        bars = ax.barh(range(len(counted)), counted[verdict], left=start, color=colour, label=verdict)
        ax.bar_label(bars, [n or "" for n in counted[verdict]], label_type="center")
        start += counted[verdict].to_numpy()
    ax.set_yticks(range(len(counted)), list(counted.index))
    ax.set(xlabel="comparisons, on synthetic hips")
    ax.legend(frameon=False, loc="upper right")
    return made


@figure
def dealt() -> Figure:
    """Slices of eight women in a training and a test set: dealt one by one, and woman by woman."""
    made, axes = panels(2, (11.5, 3.9))
    women, slices = 8, 16
    rng = np.random.default_rng(0)
    by_slice = rng.permutation(women * slices).reshape(women, slices) < women * slices // 4
    by_woman = np.repeat(rng.permutation(women)[:, None] < women // 4, slices, 1)
    for ax, tested, title in ((axes[0], by_slice, "dealt by slice"), (axes[1], by_woman, "dealt by woman")):
        ax.imshow(tested, cmap=plt.matplotlib.colors.ListedColormap([TRUTH, PREDICTED]), vmin=0, vmax=1, aspect="auto")
        for at in range(1, women):
            ax.axhline(at - 0.5, color="w", lw=4)
        for at in range(1, slices):
            ax.axvline(at - 0.5, color="w", lw=1)
        both = int((tested.any(1) & ~tested.all(1)).sum())
        ax.set(
            title=f"{title}: {both} of {women} women in both sets", xlabel="slice", ylabel="woman", xticks=[], yticks=[]
        )
    for colour, name in ((TRUTH, "training"), (PREDICTED, "test")):
        axes[1].plot([], [], "s", ms=12, color=colour, label=name)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return made
