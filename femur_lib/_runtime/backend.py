"""Keras, imported in the one place that keeps its backend's start-up messages away from the reader.

TensorFlow writes them from C++, before it reads any setting, and they would stand in red under a notebook's first cell.
Errors still appear: Python raises them after the import has ended. What the backend reads from the environment has been
set by then (:func:`femur_lib._runtime.machine.set_environment`).
"""

import os
import sys

if "keras" not in sys.modules:
    sys.stderr.flush()
    _stderr, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(_nowhere, 2)
    try:
        import keras
    finally:
        os.dup2(_stderr, 2)
        os.close(_stderr)
        os.close(_nowhere)
else:
    import keras

__all__ = ["keras"]
