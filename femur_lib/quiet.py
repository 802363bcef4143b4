"""Import TensorFlow without what it says of itself while it starts: ``import femur_lib.quiet``, before all else.

Those lines come from C++, before any setting of TensorFlow's is read, and stand in red under a notebook's first cell.
Errors are raised as ever.
"""

import os
import sys

# The package is imported by now, and has set TensorFlow's options.
sys.stderr.flush()
_kept = os.dup(2)
_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import tensorflow  # noqa: F401
finally:
    os.dup2(_kept, 2)
    os.close(_kept)
    os.close(_nowhere)
