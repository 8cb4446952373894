"""Records golden data anew: `python -m tests.golden [learner ...]`."""

import sys

from edp_jax import algorithms

from . import write

write(sys.argv[1:] or list(algorithms.REGISTRY))
