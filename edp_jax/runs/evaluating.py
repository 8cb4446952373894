"""A note in the folder of a run while it evaluates: a simulator can end the process wordlessly."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

from edp_jax.algorithms.base import AgentState
from edp_jax.files import write_bytes
from edp_jax.training import hosts, sharding

_NAME = "evaluating"


def noted(evaluate: Callable[[AgentState], Any], workdir: str) -> Callable[[AgentState], Any]:
    """Makes an evaluation leave a note in DIR as long as it runs. Collective.

    Args:
      evaluate: made by `evaluator.make_evaluate`.
      workdir: DIR.
    """
    path = os.path.join(workdir, _NAME)

    def evaluate_noted(state: AgentState) -> Any:
        step = sharding.first_value(state.step)
        hosts.run_in_zero(lambda: write_bytes(path, f"{step:,}".encode()))
        try:
            return evaluate(state)
        finally:
            if hosts.is_process_zero():
                _remove(path)

    return evaluate_noted


def take_death(workdir: str) -> str | None:
    """A line if the process that had the folder before died while it evaluated; else None.

    The note is removed.
    """
    path = os.path.join(workdir, _NAME)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            step = file.read(40)
    except OSError:
        return None
    _remove(path)
    return (
        f"the last start died in its evaluation after {step} updates. If the simulator ends the "
        "process each time, go on with --config.env_id=none: it trains without evaluations"
    )


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)
