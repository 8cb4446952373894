"""Ranks policies without a simulator: checkpoints, runs, ways of acting, from recorded data alone.

python -m experiments.select --runs='runs/*'
python -m experiments.select --runs=runs/first --starting_noise=0.3,1 --sampler_calls=5,15

The runs have to be trained on one dataset. Prints a ranking by fitted Q evaluation and drift,
with intervals and other signs, and says which policies may be as good (docs/choosing.md).
Writes ranking.csv and ranking.png; `experiments.report` shows them.
"""

import dataclasses
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from edp_jax import InputError
from edp_jax.algorithms.groups import ACTING
from edp_jax.devices import check_devices_exist
from edp_jax.errors import program
from edp_jax.files import check_writable, writing
from edp_jax.reports.folders import find_runs
from edp_jax.runs import plots
from edp_jax.selection import dynamics, episodes, fqe, pool, ranking, sampling
from edp_jax.selection.examine import Examined, estimate, examine, imagine
from edp_jax.selection.figure import draw
from edp_jax.selection.signs import Signs
from edp_jax.training import process
from edp_jax.training.progress import PRINT_PERIOD

from . import launch
from .evaluate import ways_to_act, write_table

_MOST_TOLD = 40  # policies on the screen
_IMAGINATION = dynamics.Imagination()


def define_flags() -> None:
    default = fqe.FQE()
    flags.DEFINE_multi_string(
        "runs", None, "Folders of runs, or folders with runs inside; may have * and be repeated"
    )
    flags.DEFINE_string(
        "out", "", f"Folder of the results; by default {ranking.FOLDER} beside the runs."
    )
    flags.DEFINE_string("step", pool.ALL, "Checkpoints: all, last, best, or a number of updates.")
    for name in ACTING:
        flags.DEFINE_list(name, [], f"Values of {name} to try; by default the run's.")
    flags.DEFINE_integer(
        "max_rows",
        episodes.MAX_ROWS,
        "Whole episodes are drawn up to so many rows; 0: all.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "samples", sampling.COUNT, "Actions that are drawn per row and policy.", lower_bound=1
    )
    flags.DEFINE_float("discount", default.discount, "gamma.", lower_bound=0.0, upper_bound=0.9999)
    flags.DEFINE_integer(
        "num_updates", default.num_updates, "Updates of the fitted critics.", lower_bound=1
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Other episodes are held out, other numbers drawn.",
        lower_bound=0,
        upper_bound=2**31 - 1,
    )


def main(_: Sequence[str]) -> None:
    check_devices_exist()
    process.set_precision("auto")
    values = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    workdirs = [os.path.abspath(workdir) for workdir in find_runs(values["runs"])]
    out = os.path.abspath(os.path.expanduser(values["out"] or ranking.folder_of(workdirs)))
    settings = fqe.FQE(
        discount=values["discount"], num_updates=values["num_updates"], seed=values["seed"]
    )
    plots.figure_class(ranking.FIGURE)  # says early where matplotlib is missing
    with writing(out):
        os.makedirs(out, exist_ok=True)
    for name in (ranking.TABLE, ranking.FIGURE):
        check_writable(os.path.join(out, name))
    select(workdirs, out, settings, values)


def select(
    workdirs: Sequence[str],
    out: str,
    settings: fqe.FQE,
    values: Mapping[str, Any],
    imagination: dynamics.Imagination = _IMAGINATION,
) -> None:
    """Ranks the policies of runs, prints the ranking and writes it.

    Args:
      workdirs: of the runs.
      out: DIR; its ranking.csv and ranking.png are written.
      settings: of the fit.
      values: `step`, `max_rows`, `samples`, and the texts of `ACTING`, as the flags say.
      imagination: how dynamics are learned; its seed is that of the fit.

    Raises:
      InputError: the runs do not fit together, have no checkpoints, or their data have changed.
    """
    recorded, sources = pool.open_runs(workdirs, tell)
    rng = np.random.default_rng(settings.seed)
    split = episodes.split(recorded.episode, rng, max_rows=values["max_rows"])
    used, total = len(split.fit) + len(split.held_out), len(recorded.episode)
    tell(f"{used:,} of {total:,} rows; {len(split.starts)} episodes held out")
    began, examined = time.monotonic(), list[Examined]()
    given = {name: values[name] for name in ACTING}
    steps_of_each = [pool.steps_of(source.run, values["step"]) for source in sources]
    all_given = all_ways(sources, given)
    tell("learning dynamics")
    imagined = imagine(recorded, split, dataclasses.replace(imagination, seed=settings.seed))
    for source, steps, ways in zip(sources, steps_of_each, all_given, strict=True):
        found = examine(
            source, steps, ways, recorded, split, values["samples"], settings.seed, imagined
        )
        before, told = len(examined), time.monotonic()
        for each in found:
            examined.append(each)
            if time.monotonic() - told > PRINT_PERIOD:
                told = time.monotonic()
                tell(f"{source.folder}: {len(examined) - before} policies so far")
        tell(f"{source.folder}: {len(examined) - before} policies")
    if not examined:
        raise InputError(f"--runs: all policies of {workdirs[0]} have diverged; train anew")
    choices = [each.choices for each in examined]
    size = sum(each.following.nbytes for each in choices) / 1e6
    tell(f"actions: {size:,.0f} MB, {time.monotonic() - began:,.0f} s")
    began, stored = time.monotonic(), recorded.transitions
    tell("fitting critics")
    fitted = estimate(recorded, split, choices, settings)
    tell(f"critics of {len(examined)} policies: {time.monotonic() - began:,.0f} s")
    drift = np.array([each.signs.drift for each in examined])
    found = ranking.rank(fitted, drift, settings.seed)
    names = pool.names([each.contender for each in examined])
    rows = [
        {"rank": place + 1, "name": names[index]}
        | examined[index].contender.columns
        | {name: getattr(found, name)[place] for name in ("value", "low", "high", "pessimistic")}
        | {"as_good": int(found.as_good[place])}
        | examined[index].signs._asdict()
        for place, index in enumerate(found.order)
    ]
    behaviour = episodes.discounted_returns(
        stored.reward, recorded.episode, split.starts, settings.discount
    ).mean()
    print_ranking(rows, float(behaviour), settings.discount)
    print(ranking.verdict([row["name"] for row in rows], found.as_good))
    print(f"to take the first out: {export_command(examined[found.order[0]].contender)}")
    columns = dict.fromkeys(name for row in rows for name in row)  # runs may sweep other settings
    table = [dict.fromkeys(columns, "") | row for row in rows]
    write_table(os.path.join(out, ranking.TABLE), table)
    plots.write(draw(rows, float(behaviour)), os.path.join(out, ranking.FIGURE))
    print(f"table and figure: {out}", flush=True)


def all_ways(sources: Sequence[pool.Source], given: Mapping[str, Sequence[str]]) -> list[list[Any]]:
    """The ways of acting of each run that are compared.

    Where a learner cannot act in the given ways, it acts as in its run, and that is told.

    Raises:
      InputError: no learner can.
    """
    found, refused = list[list[Any]](), list[InputError]()
    for source in sources:
        settings = source.settings
        try:
            found.append(ways_to_act(settings.algorithm, settings.learner, given))
        except InputError as error:
            refused.append(error)
            found.append([settings.learner])
            tell(f"{source.folder} acts as in its run: {error}")
    if len(refused) == len(sources):
        raise refused[0]
    return found


def export_command(contender: pool.Contender) -> str:
    """The command that writes a policy as one file."""
    own, member = pool.acting_of(contender.source.settings.learner), contender.member
    flags_given = [f"--workdir={contender.source.folder}", f"--step={contender.step}"]
    flags_given += [f"--seed={member.seed}"]
    if member.point:
        flags_given += ["--point=" + ",".join(f"{name}={value}" for name, value in member.point)]
    flags_given += [f"--{k}={v}" for k, v in contender.acting.items() if v != own[k]]
    return f"{program('export')} {shlex.join([*flags_given, '--out=policy.edp'])}"


def print_ranking(rows: Sequence[Mapping[str, Any]], behaviour: float, discount: float) -> None:
    """Prints the best policies with their estimates and signs."""
    shown = rows[:_MOST_TOLD]
    width = max(len(row["name"]) for row in shown)
    print(f"discounted return from the start of an episode, gamma {discount:g}")
    heads = " ".join(f"{name:>14}" for name in Signs._fields)
    print(f"{'policy':{width}} {'value':>9} {'low':>9} {'high':>9} {'pessimistic':>11} {heads}")
    for row in shown:
        estimates = " ".join(f"{row[name]:9.4g}" for name in ("value", "low", "high"))
        signs = " ".join(f"{row[name]:14.3g}" for name in Signs._fields)
        print(f"{row['name']:{width}} {estimates} {row['pessimistic']:11.4g} {signs}")
    if len(rows) > len(shown):
        print(f"... and {len(rows) - len(shown)} more in the table")
    print(f"the held-out episodes themselves returned {behaviour:.4g} in the mean")


def tell(line: str) -> None:
    """Prints a line of progress."""
    print(line, flush=True)


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("runs",))
