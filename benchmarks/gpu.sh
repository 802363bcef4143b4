#!/usr/bin/env bash
# Run gpu.py on a machine with a GPU: benchmarks/gpu.sh [gpu.py's options]. PYTHON may name the interpreter that has JAX.
# Where that Python lacks Keras and others, wheels that were brought along (gpu_wheels.sh) are installed beside its own
# packages, in build/gpu-packages, and not into a new environment: where it is itself in one, a new one would not see
# what it sees.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
packages=$PWD/build/gpu-packages
lacks_some='import sys, importlib.util as u; sys.exit(all(map(u.find_spec, ("keras", "nibabel", "pydantic", "jinja2"))))'
if compgen -G "wheels/*.whl" > /dev/null && "$python" -c "$lacks_some"; then
  if [ ! -e "$packages/.complete" ]; then
    rm -rf "$packages"
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$packages" wheels/*.whl
    touch "$packages/.complete"
  fi
  export PYTHONPATH="$packages${PYTHONPATH:+:$PYTHONPATH}"
fi
export KERAS_BACKEND=${KERAS_BACKEND:-jax} PYTHONUNBUFFERED=1
exec "$python" benchmarks/gpu.py "$@"
