"""Deep-learning segmentation of the proximal femur in MR images, after Deniz et al. 2018."""

import os

__version__ = "0.1.0"

# TensorFlow's oneDNN kernels are on by default only where the CPU has certain instructions. On other x86 machines a 3D
# training step takes several times as long without them (benchmarks/training_step.py), so we ask for them. It must be
# said before TensorFlow is first imported; a value of the user's own stays.
# femur_lib.onednn takes it back for large 2D networks.
ONEDNN_IS_THE_USERS = "TF_ENABLE_ONEDNN_OPTS" in os.environ
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
