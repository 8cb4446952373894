"""The exit codes of the programs; docs/evaluation.md lists them."""

FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on
