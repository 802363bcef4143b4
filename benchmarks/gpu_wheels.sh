#!/usr/bin/env bash
# Fetch, as wheels, what a GPU machine without network lacks: benchmarks/gpu_wheels.sh, here; the folder wheels/ then
# travels with the checkout, and benchmarks/gpu.sh installs it there. For Linux x86-64, Python 3.12, with JAX, NumPy,
# SciPy, pandas, scikit-learn, statsmodels, h5py, PyYAML, matplotlib and joblib. The versions are those of the lock.
set -euo pipefail
cd "$(dirname "$0")/.."
packages="keras absl-py namex optree rich markdown-it-py mdurl pygments nibabel typing-extensions filelock
  pydantic pydantic-core annotated-types typing-inspection jinja2 markupsafe"
pinned=()
for package in $packages; do
  pinned+=("$(grep -oE "^$package==[^ ]+" requirements.lock)")
done
rm -rf wheels
# The dependencies are named above: without --no-deps pip would fetch NumPy and its like, which are there already.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest wheels \
  --python-version 3.12 --implementation cp \
  --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "${pinned[@]}"
du -sh wheels
