"""Programs that break runs on purpose: `python -m tests.faults` prints their figures."""
