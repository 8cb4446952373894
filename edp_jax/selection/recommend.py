"""Which checkpoint of a run its data recommend, once training has ended."""

import dataclasses
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from edp_jax.errors import program
from edp_jax.runs import Run, outputs
from edp_jax.selection import pool
from edp_jax.selection.dynamics import Imagination
from edp_jax.selection.episodes import MAX_ROWS, split
from edp_jax.selection.examine import Examined, estimate, examine, imagine
from edp_jax.selection.fqe import FQE
from edp_jax.selection.ranking import rank
from edp_jax.selection.sampling import COUNT
from edp_jax.types import InputError

ASKED = "config.best_by=fqe"
_AS_SELECT, _IMAGINATION = FQE(), Imagination()  # the defaults of `experiments.select`
_ESTIMATES = ("value", "low", "high", "pessimistic", "drift")


def recommend(
    workdir: str,
    keeps: Callable[[int], bool],
    tell: Callable[[str], None],
    check_stop: Callable[[], None],
    settings: FQE = _AS_SELECT,
    imagination: Imagination = _IMAGINATION,
) -> None:
    """Judges the checkpoints of a finished run, unless that is done, and tells which is the best.

    Args:
      workdir: of the run; its summary gets the estimates.
      keeps: whether the checkpoint after so many updates is kept for good. Only such checkpoints
        are judged: others are there by chance, as where the run was stopped.
      tell: takes lines.
      check_stop: called between policies and after the fit; where it raises, nothing is written.
      settings: how critics are fitted.
      imagination: how dynamics are learned; its seed is that of the fit.

    Raises:
      InputError: the run has fewer than two such checkpoints, or its data have changed.
    """
    run = Run(workdir)
    judged = run.judged
    if judged is None:
        steps = [step for step in run.checkpoint_steps if keeps(step)]
        check_choice(steps)
        tell(f"judging {len(steps)} checkpoints by the data alone: what they would do")
        judged = judge(workdir, steps, tell, check_stop, settings, imagination)
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
    imagination: Imagination,
) -> list[dict[str, Any]]:
    """Ranks the checkpoints of a run, by the rule and on the data of `experiments.select`.

    A checkpoint holds all members, so its estimate and its drift are means over them. Members that
    have diverged until the last checkpoint count in none.

    Args:
      workdir: of the run.
      steps: of its checkpoints.
      tell: takes lines about how far it is.
      check_stop: called between policies.
      settings: how critics are fitted.
      imagination: how dynamics are learned; its seed is that of the fit.

    Returns:
      Per checkpoint, the best first, what summary.json says of it.
    """
    recorded, (source,) = pool.open_runs([workdir], tell, ASKED)
    parts = split(recorded.episode, np.random.default_rng(settings.seed), max_rows=MAX_ROWS)
    ways, examined = [source.settings.learner], list[Examined]()
    tell("learning dynamics")
    imagined = imagine(recorded, parts, dataclasses.replace(imagination, seed=settings.seed))
    check_stop()
    for each in examine(source, steps, ways, recorded, parts, COUNT, settings.seed, imagined):
        check_stop()
        examined.append(each)
    sound = {each.contender.index for each in examined if each.contender.step == max(steps)}
    sound_ones = [each for each in examined if each.contender.index in sound]
    tell("fitting critics")
    values = estimate(recorded, parts, [each.choices for each in sound_ones], settings)
    check_stop()
    of_members = values.reshape(len(steps), len(sound), *values.shape[1:])
    drift = np.array([each.signs.drift for each in sound_ones]).reshape(len(steps), len(sound))
    found = rank(of_members.mean(axis=1), drift.mean(axis=1), settings.seed)
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
