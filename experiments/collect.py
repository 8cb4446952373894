"""Makes a dataset by running policies in a gymnasium environment, in D4RL's layout or Minari's.

python -m experiments.collect --env_id=Pendulum-v1 --output=pendulum.hdf5 \\
    --policies=random,behaviours/pendulum-expert.npz

A policy is `random`, an .npz of `experiments.train_behaviour`, the policy/ folder of a run of
`experiments.main`, or `module:function`, a controller in Python. Each contributes an equal share;
one that is named twice contributes two.
Actions are sampled, and stored in the box of the environment.
"""

import dataclasses
import importlib.metadata
import json
import os
import shlex
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import flags

from edp_jax import InputError
from edp_jax.data import RawDataset, describe, minari
from edp_jax.data.boxes import has_bounds
from edp_jax.data.builtin import RANDOM
from edp_jax.data.folder import folder_made
from edp_jax.data.hdf5 import write_hdf5
from edp_jax.data.raw import called, from_arrays
from edp_jax.data.recording import Act, Recording, concatenate, record
from edp_jax.data.storage import free_memory, storage_near
from edp_jax.data.summary import summarize
from edp_jax.errors import one_line, program
from edp_jax.evaluation import adapters, envs
from edp_jax.training import hosts
from edp_jax.training.signals import StopSignals
from edp_jax.types import EnvSpec

from . import exits, launch
from .policies import load_act

_MOST_ENVS = 10


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to record; the flags have the same names. Of `output` and `minari_id` one is empty."""

    env_id: str
    policies: tuple[str, ...] = (RANDOM,)
    num_transitions: int = 100_000
    output: str = ""
    minari_id: str = ""
    env_kwargs: str = "{}"
    seed: int = 0
    reference_scores: tuple[float, ...] = ()


def define_flags() -> None:
    flags.DEFINE_string(
        "env_id", None, "Gymnasium environment with a box of actions.", required=True
    )
    flags.DEFINE_list(
        "policies",
        list(Plan.policies),
        "random, .npz files of behaviour policies, policy/ folders of runs, module:function.",
    )
    flags.DEFINE_integer(
        "num_transitions", Plan.num_transitions, "Steps of all policies together.", lower_bound=2
    )
    flags.DEFINE_string("output", Plan.output, "The .hdf5 file to write, in D4RL's layout.")
    flags.DEFINE_string(
        "minari_id", Plan.minari_id, "Or the Minari dataset, (namespace/)name-v<number>."
    )
    flags.DEFINE_string(
        "env_kwargs", Plan.env_kwargs, "JSON object of the environment's keyword arguments."
    )
    flags.DEFINE_integer("seed", Plan.seed, "Seed of environments and actions.", lower_bound=0)
    flags.DEFINE_list(
        "reference_scores",
        list(map(str, Plan.reference_scores)),
        "Returns that count as 0 and 100, kept with the data.",
    )


def main(_) -> int:
    given = flags.FLAGS
    try:
        scores = tuple(map(float, given.reference_scores))
    except ValueError as error:
        listed = ",".join(given.reference_scores)
        remedy = "must be numbers, as in -1200,-150"
        raise InputError(f"--reference_scores={listed}: {remedy}") from error
    values: dict[str, Any] = {
        field.name: given[field.name].value for field in dataclasses.fields(Plan)
    }
    values["policies"] = tuple(map(os.path.expanduser, given.policies))
    values["output"], values["reference_scores"] = os.path.expanduser(given.output), scores
    with StopSignals() as signals:
        try:
            collect(Plan(**values), check_stop=signals.check)
        except hosts.Stopped:
            return exits.INTERRUPTED
    return 0


def collect(
    plan: Plan,
    progress: Callable[[str], None] = print,
    check_stop: Callable[[], None] = lambda: None,
) -> None:
    """Records what is planned and writes it.

    All of it is done with a few steps first, so that what cannot work fails before the long
    recording. Where that recording fails, what it has so far is written.

    Args:
      plan: what to record.
      progress: takes lines that tell of the recording.
      check_stop: called before every step; it raises `hosts.Stopped` to end the recording.

    Raises:
      InputError: something in the plan is of no use, and nothing is written; or a policy or the
        environment failed, and the message says what is written.
      Stopped: `check_stop` raised it; what was recorded before is written.
    """
    _check(plan)
    environments = _environments(plan)
    _check_environment(plan, environments[0])
    acts = [load_act(name, environments[0]) for name in plan.policies]
    few = dataclasses.replace(plan, num_transitions=2 * len(acts) * len(environments))
    folder = os.path.dirname(os.path.abspath(plan.output))
    with folder_made(folder, "give another file as --output"):  # the present one, for Minari
        _write(plan, _record(few, environments, acts, _ignore, check_stop).complete(), environments)
        _remove(plan)
        recording = _record(plan, environments, acts, progress, check_stop)
        if recording.steps is None or len(recording.steps.rewards) < 2:
            raise recording.error or InputError("nothing was recorded")
        _write(plan, recording.steps, environments)
    written = plan.minari_id or plan.output
    progress(f"written: {written}\n{describe(summarize(recording.steps))}")
    progress(f"to train on it: {_training_command(plan)}")
    if recording.error is not None:
        kept = f"{len(recording.steps.rewards):,} of {plan.num_transitions:,} transitions"
        line = f"{_end_of(written)} holds only {kept}, the last episodes cut off"
        if isinstance(recording.error, InputError):
            raise InputError(f"{line}: {recording.error}") from recording.error
        progress(f"{line}: stopped")
        raise recording.error


def _training_command(plan: Plan) -> str:
    task = shlex.quote(plan.output or f"minari:{plan.minari_id}")
    if plan.output:
        task += f" --config.env_id={plan.env_id}"
    if plan.output and plan.env_kwargs != "{}":
        task += f" --config.env_kwargs={shlex.quote(plan.env_kwargs)}"
    return f"{program('main')} --config=edp:{task} --workdir=DIR"


def _end_of(name: str) -> str:
    """A name that may be a long path, short enough for a line."""
    return name if len(name) <= 50 else f"...{name[-47:]}"


def _ignore(line: str) -> None:
    del line


def _environments(plan: Plan) -> tuple:
    """Makes as many as record together; few enough that most episodes are whole.

    The last episode of each environment is cut off.
    """
    environment = EnvSpec(f"gymnasium:{plan.env_id}", plan.env_kwargs)
    episode = envs.make(environment, 1)[0].spec.max_episode_steps
    whole = plan.num_transitions // len(plan.policies) // episode
    return envs.make(environment, min(_MOST_ENVS, max(1, whole)))


def _record(
    plan: Plan,
    environments: tuple,
    acts: list[Act],
    progress: Callable[[str], None],
    check_stop: Callable[[], None],
) -> Recording:
    """One policy after the other, until one of them fails."""
    ends = [plan.num_transitions * number // len(acts) for number in range(len(acts) + 1)]
    parts, error = [], None
    for index, (name, act) in enumerate(zip(plan.policies, acts, strict=True)):
        share, seed = ends[index + 1] - ends[index], len(acts) * plan.seed + index
        steps, error = record(
            environments,
            act,
            share,
            seed=seed,
            title=name,
            progress=progress,
            check_stop=check_stop,
        )
        parts += [] if steps is None else [steps]
        if error is not None:
            break
    if error is not None and not isinstance(error, hosts.Stopped):
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        where = f"{_end_of(name)} in {_end_of(plan.env_id)}"
        error = InputError(f"{where}: {kind}{one_line(error)[:100]}")
    return Recording(concatenate(parts) if parts else None, error)


def _write(plan: Plan, steps: RawDataset, environments: tuple) -> None:
    """Writes steps with the action box and the reference scores.

    Raises:
      InputError: they cannot be written.
    """
    box, declared, recorded = environments[0].action_space, {}, steps.arrays()
    if plan.reference_scores:
        declared["reference_scores"] = np.array(plan.reference_scores)
    if has_bounds(box.low, box.high, np.ptp(recorded["actions"], axis=0)):
        declared |= {"action_low": box.low, "action_high": box.high}
    raw = from_arrays(f"environment {plan.env_id!r}", recorded | declared, apart=True)
    recipe = _recipe(plan)
    if plan.minari_id:
        env = environments[0].env  # without the conversion to float32
        names = ", ".join(plan.policies)
        minari.write_minari(plan.minari_id, raw, env, algorithm=names, description=recipe)
        return
    try:
        write_hdf5(plan.output, raw, attributes={"recipe": recipe})
    except OSError as error:
        problem = f"cannot be written ({one_line(error)[:80]})"
        raise InputError(f"{called(plan.output)}: {problem}; give another --output") from error


def _remove(plan: Plan) -> None:
    """Deletes what `_write` wrote."""
    if plan.minari_id:
        minari.remove(plan.minari_id)
    else:
        os.remove(plan.output)


def _check_environment(plan: Plan, env: Any) -> None:
    """Refuses observations that Minari would mix up, and more than memory or disk can hold."""
    if plan.minari_id:
        space = env.env.observation_space
        if repr(adapters.key_sorted(space)) != repr(space):
            problem = f"Minari loses the order of {plan.env_id}'s observations"
            raise InputError(f"--minari_id: {problem}; use --output=FILE.hdf5")
    columns = 2 * env.observation_space.shape[0] + env.action_space.shape[0] + 1
    needed = 4 * plan.num_transitions * columns
    places = {"memory": free_memory()}
    if plan.output:
        folder = storage_near(os.path.dirname(os.path.abspath(plan.output))).folder
        places[f"disk of {plan.output}"] = shutil.disk_usage(folder or ".").free
    for place, free in places.items():
        if needed > free:
            raise InputError(
                f"--num_transitions={plan.num_transitions}: {needed / 1e9:.3g} GB of data, and the "
                f"{place} has {free / 1e9:.3g} GB free; record fewer"
            )


def _check(plan: Plan) -> None:
    if bool(plan.output) == bool(plan.minari_id):
        raise InputError("--output, --minari_id: give one of them, such as --output=data.hdf5")
    if plan.minari_id:
        minari.check_new(plan.minari_id)
    elif not plan.output.endswith(".hdf5"):
        raise InputError(f"--output={plan.output}: must end in .hdf5")
    elif os.path.exists(plan.output):
        remedy = "name a new file, or delete that one"
        raise InputError(f"--output={plan.output}: exists already; {remedy}")
    if not 0 < len(plan.policies) <= plan.num_transitions:
        remedy = "give at least one, at most --num_transitions"
        raise InputError(f"--policies: {len(plan.policies)} of them; {remedy}")
    scores = plan.reference_scores
    if scores and not (len(scores) == 2 and scores[0] < scores[1]):
        listed = ",".join(map(str, scores))
        rule = "must be two numbers, the smaller one first"
        raise InputError(f"--reference_scores={listed}: {rule}")


def _recipe(plan: Plan) -> str:
    """The plan and the versions of what it was recorded with, as JSON."""
    packages = ("gymnasium", "mujoco", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return json.dumps(dataclasses.asdict(plan) | {"versions": versions})


if __name__ == "__main__":
    define_flags()
    launch.run(main)
