"""Records the golden data anew: `python -m tests.golden`."""

from . import write

write()
