"""What we compare our networks with: MONAI's residual U-Net, and a classifier of single voxels, which is no network.

Each is trained on samples (femur_lib.dataset.Sample) and predicts as a Keras model does: it takes an array of shape
(N, rows, columns, slices, 1) and returns two probabilities for each voxel, so that the library's own inference and
metrics can be used.
"""

import time
from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier

SCALES = (1.0, 2.0, 4.0, 8.0)  # standard deviations of Gaussians, in pixels
STAGES = 2  # the second also sees what the first found around a voxel
VOXELS_A_HIP = 12_000


class Torch:
    """A PyTorch network that can be called like a Keras model."""

    def __init__(self, network):
        self.network = network

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Softmax outputs of shape (N, rows, columns, slices, 2)."""
        import torch

        with torch.inference_mode():
            logits = self.network(torch.from_numpy(x.copy()).movedim(-1, 1))
            return logits.softmax(1).movedim(1, -1).numpy()


def monai(samples: Sequence, budget: float) -> tuple[Torch, dict]:
    """Train MONAI's residual U-Net (Kerfoot et al. 2019) for ``budget`` CPU seconds, in the way of its tutorials.

    That is Dice plus cross-entropy, flips and affine deformation, and Adam with a cosine schedule.
    """
    import torch
    from monai.losses import DiceCELoss
    from monai.networks.nets import UNet
    from monai.transforms import Compose, RandAffined, RandFlipd

    torch.manual_seed(0)
    network = UNet(
        3, 1, 2, channels=(16, 32, 64, 128, 256), strides=((2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)), num_res_units=2,
        norm="instance",
    )  # fmt: skip
    change = Compose(
        [
            RandFlipd(("image", "mask"), 0.5, 1),
            RandAffined(
                ("image", "mask"), prob=1.0, rotate_range=(0, 0, 0.2), scale_range=(0.15, 0.15, 0),
                translate_range=(7, 5, 0), mode=("bilinear", "nearest"), padding_mode="border",
            ),
        ]
    ).set_random_state(0)  # fmt: skip
    loss_of, adam = DiceCELoss(softmax=True, to_onehot_y=True), torch.optim.Adam(network.parameters(), 1e-3)
    started, spent, steps, rng = time.process_time(), 0.0, 0, np.random.default_rng(0)
    while spent < budget:
        for i in rng.permutation(len(samples)):
            for group in adam.param_groups:  # cosine over the budget
                group["lr"] = 0.5e-3 * (1 + np.cos(np.pi * min(1, spent / budget))) + 1e-6
            pair = change({"image": samples[i].image[None].copy(), "mask": samples[i].mask[None].astype(np.float32)})
            adam.zero_grad()
            loss = loss_of(network(pair["image"].as_tensor()[None]), pair["mask"].as_tensor()[None])
            loss.backward()
            adam.step()
            steps, spent = steps + 1, time.process_time() - started
            if spent >= budget:
                break
        print(f"step {steps}, loss {float(loss):.3f}, {spent:.0f} of {budget:.0f} CPU s", flush=True)
    network.eval()
    return Torch(network), {"steps": steps, "cpu_seconds": spent}


class Voxels:
    """Boosted trees that look at each voxel and its surroundings; the second stage also sees the first one's answer.

    There is no network, and no features are learned: the trees see brightness, edges and position at four scales
    (auto-context: Tu and Bai 2010). The paper asks for a comparison with a method other than a CNN (Discussion).
    """

    def __init__(self):
        self.stages: list[HistGradientBoostingClassifier] = []

    def features(self, image: np.ndarray) -> np.ndarray:
        """One row for each voxel: smoothed image, gradient, Laplacian, position, and earlier answers, smoothed."""
        found = [image]
        for sigma in SCALES:
            across = (sigma, sigma, sigma / 4)  # slices are thicker
            found.append(ndimage.gaussian_filter(image, across))
            found.append(ndimage.gaussian_gradient_magnitude(image, across))
            found.append(ndimage.gaussian_laplace(image, across))
        found += list(np.indices(image.shape, np.float32))
        table = np.stack([f.ravel() for f in found], axis=1).astype(np.float32)
        for stage in self.stages:
            p = stage.predict_proba(table)[:, 1].reshape(image.shape).astype(np.float32)
            around = [p] + [ndimage.gaussian_filter(p, (s, s, s / 4)) for s in (*SCALES, 16.0)]
            table = np.concatenate([table[:, : len(found)], *(a.reshape(-1, 1) for a in around)], axis=1)
        return table

    def fit(self, samples: Sequence) -> None:
        """Train all stages on each hip and on its mirror image, since hips can be of either side."""
        rng = np.random.default_rng(0)
        both = [(a.image[:, ::d], a.mask[:, ::d]) for a in samples for d in (1, -1)]
        for stage in range(STAGES):
            rows, truths = [], []
            for image, mask in both:
                flat = mask.ravel()
                # Half of the voxels are near the femur, where mistakes are made; the rest are anywhere.
                near = np.flatnonzero(ndimage.binary_dilation(mask > 0, iterations=4).ravel())
                chosen = np.concatenate(
                    [rng.choice(near, VOXELS_A_HIP // 2), rng.integers(0, flat.size, VOXELS_A_HIP // 2)]
                )
                rows.append(self.features(np.ascontiguousarray(image))[chosen])
                truths.append(flat[chosen])
            trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.1, max_leaf_nodes=63, random_state=0)
            self.stages.append(trees.fit(np.concatenate(rows), np.concatenate(truths)))
            print(f"stage {stage + 1}: {len(both)} hips and mirrored hips, {time.process_time():.0f} CPU s", flush=True)

    def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
        """Two probabilities for each voxel, (N, rows, columns, slices, 2)."""
        # This is the last stage's own answer; features() only adds the answers of the stages before it.
        *before, last = self.stages
        earlier = Voxels()
        earlier.stages = before
        p = np.stack([last.predict_proba(earlier.features(v[..., 0])) for v in x])
        return p.reshape(*x.shape[:-1], 2).astype(np.float32)


def voxels(samples: Sequence) -> tuple[Voxels, dict]:
    """Train the classifier of voxels."""
    started, model = time.process_time(), Voxels()
    model.fit(samples)
    return model, {"stages": STAGES, "cpu_seconds": time.process_time() - started}
