"""Which checkpoint of a run its data recommend, once training has ended."""

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.errors import program
from edp_jax.runs import Run, outputs
from edp_jax.selection import pool
from edp_jax.selection.episodes import MAX_ROWS, split
from edp_jax.selection.examine import Examined, estimate, examine
from edp_jax.selection.fqe import FQE
from edp_jax.selection.ranking import rank
from edp_jax.selection.sampling import COUNT
from edp_jax.types import InputError

ASKED = "config.best_by=fqe"
_AS_SELECT = FQE()  # the defaults of `experiments.select`
_ESTIMATES = ("value", "low", "high", "pessimistic")


def recommend(
    workdir: str,
    keeps: Callable[[int], bool],
    tell: Callable[[str], None],
    check_stop: Callable[[], None],
    settings: FQE = _AS_SELECT,
) -> None:
    """Judges the checkpoints of a finished run, unless that is done, and tells which is the best.

    Args:
      workdir: of the run; its summary gets the estimates.
      keeps: whether the checkpoint after so many updates is kept for good. Only such checkpoints
        are judged: others are there by chance, as where the run was stopped.
      tell: takes lines.
      check_stop: called between policies and after the fit; where it raises, nothing is written.
      settings: how critics are fitted.

    Raises:
      InputError: the run has fewer than two such checkpoints, or its data have changed.
    """
    run = Run(workdir)
    judged = run.judged
    if judged is None:
        steps = [step for step in run.checkpoint_steps if keeps(step)]
        check_choice(steps)
        tell(f"judging {len(steps)} checkpoints by the data alone: what they would do")
        judged = judge(workdir, steps, tell, check_stop, settings)
        outputs.add_judged(workdir, judged)
    tell(describe(judged))
    command = f"{program('export')} --workdir={shlex.quote(workdir)} --step=best --out=policy.edp"
    tell(f"to take it out: {command}")


def check_choice(steps: Collection[int]) -> None:
    """Checks that there is a choice among the checkpoints after these numbers of updates.

    Raises:
      InputError: there is one at most.
    """
    if len(steps) < 2:
        raise InputError(
            f"{ASKED}: only the last checkpoint is kept for it, so there is nothing to choose; "
            "lower --config.keep_every, or where the updates are done already train in a new "
            "--workdir"
        )


def judge(
    workdir: str,
    steps: Sequence[int],
    tell: Callable[[str], None],
    check_stop: Callable[[], None],
    settings: FQE,
) -> list[dict[str, Any]]:
    """Estimates checkpoints of a run by fitted Q evaluation, on the data of `experiments.select`.

    A checkpoint holds all members, so its estimate is the mean over them. Those that have diverged
    until the last checkpoint count in none.

    Args:
      workdir: of the run.
      steps: of its checkpoints.
      tell: takes lines about how far it is.
      check_stop: called between policies.
      settings: how critics are fitted.

    Returns:
      Per checkpoint, the best first, what summary.json says of it.
    """
    recorded, (source,) = pool.open_runs([workdir], tell, ASKED)
    parts = split(recorded.episode, np.random.default_rng(settings.seed), max_rows=MAX_ROWS)
    ways, examined = [source.settings.learner], list[Examined]()
    for each in examine(source, steps, ways, recorded, parts, COUNT, settings.seed):
        check_stop()
        examined.append(each)
    sound = {each.contender.index for each in examined if each.contender.step == max(steps)}
    choices = [each.choices for each in examined if each.contender.index in sound]
    tell("fitting critics")
    values = estimate(recorded, parts, choices, settings)
    check_stop()
    of_members = values.reshape(len(steps), len(sound), *values.shape[1:])
    found = rank(of_members.mean(axis=1), settings.seed)
    return [
        {"step": steps[index], "as_good": bool(found.as_good[place])}
        | {name: float(getattr(found, name)[place]) for name in _ESTIMATES}
        for place, index in enumerate(found.order)
    ]


def describe(judged: Sequence[Mapping[str, Any]]) -> str:
    """What follows from estimates, in two lines.

    Args:
      judged: what `judge` returns.
    """
    best, last = judged[0]["step"], max(each["step"] for each in judged)
    as_good = {each["step"] for each in judged[1:] if each["as_good"]}
    if best == last:
        what = f"the data recommend the last of {len(judged)} checkpoints, after {best:,} updates"
        told = f"they cannot tell it from {len(as_good)} of the others"
        told = told if as_good else "all others are estimated lower, beyond the interval"
    else:
        what = f"of {len(judged)} checkpoints the data recommend that after {best:,} updates"
        told = f"they cannot tell it from the last, after {last:,}, which may be as good"
        lower = f"the last, after {last:,}, is estimated lower, beyond the interval"
        told = told if last in as_good else lower
    return f"{what}\n{told}"
