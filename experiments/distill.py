"""Trains a student that acts in one network call, for every diffusion policy of a run.

python -m experiments.distill --workdir=runs/first
python -m experiments.distill --workdir=runs/first --step=best --out=runs/student --num_steps=50000

It learns the action that its teacher's chain of calls reaches from the same noise, at the dataset's
observations. The result is the folder of a run, which `experiments.evaluate` and
`edp_jax.load_policy` take. The same command goes on where it stopped.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from edp_jax import InputError, TaskSpec, algorithms, configuration, data
from edp_jax.algorithms import AgentState, one_call, own_noise
from edp_jax.configuration import Settings, build
from edp_jax.configuration.groups import Online, Processes
from edp_jax.diffusion import SAMPLERS
from edp_jax.runs import Run
from edp_jax.settings import describe
from edp_jax.training import hosts, sharding
from edp_jax.training.signals import StopSignals

from . import exits, launch, main

NUM_STEPS = 80_000
BATCH_SIZE = 64  # most of an update are its chains, and many small steps learn more from them
_OUT = "one_call"  # folder of the student, in that of its teacher
_OF_CHAIN = ("sampler", "sampler_calls", "starting_noise")
_OF_STUDENT = ("num_steps", "batch_size", "guidance", "spread", "student_rate", *_OF_CHAIN)
_ALL_DIVERGED = "--workdir={}: all its members have diverged; train anew"
_BOX = ("action_low", "action_high")  # of the actions, which an environment may have brought
_OF_RUN = ("eval_episodes", "env_id")  # by default as in the teacher's run
_FLAG_OF = {  # settings of the student's run, by the flag that they come from
    **{name: name for name in (*_OF_STUDENT, *_OF_RUN) if name not in ("sampler", "sampler_calls")},
    **{"chain_sampler": "sampler", "chain_calls": "sampler_calls", "teacher_step": "step"},
}


def define_flags() -> None:
    flags.DEFINE_string("workdir", None, "Folder of the teacher's run.")
    flags.DEFINE_string("out", "", f"Folder of the student's run; by default WORKDIR/{_OUT}.")
    flags.DEFINE_string("step", "last", "Checkpoint: last, best, or a number of updates.")
    flags.DEFINE_integer("num_steps", NUM_STEPS, "Updates of each student.", lower_bound=1)
    flags.DEFINE_integer("batch_size", BATCH_SIZE, "Observations of an update.", lower_bound=1)
    for entry in describe(one_call.Student):
        if entry.name in ("guidance", "spread", "student_rate"):
            flags.DEFINE_float(entry.name, entry.default, f"{entry.meaning}.")
    flags.DEFINE_enum("sampler", None, list(SAMPLERS), "Of the chain; by default the run's.")
    flags.DEFINE_integer("sampler_calls", None, "Of the chain; by default the run's.")
    flags.DEFINE_float("starting_noise", None, "Of the chain; by default the run's.")
    flags.DEFINE_integer("eval_episodes", None, "At the end; by default the run's.")
    flags.DEFINE_string("env_id", None, "Environment of gymnasium, or none; by default the run's.")


def program(_: Sequence[str]) -> int:
    given: dict[str, Any] = {name: flags.FLAGS[name].value for name in flags.FLAGS}
    workdir = os.path.abspath(os.path.expanduser(given["workdir"]))
    out = os.path.abspath(os.path.expanduser(given["out"] or os.path.join(workdir, _OUT)))
    main.prepare_devices(len(Run(workdir).members), "auto")
    changes = {name: given[name] for name in (*_OF_STUDENT, *_OF_RUN) if given[name] is not None}
    with StopSignals() as signals:
        try:
            return distill(workdir, out, changes, signals, given["step"])
        except hosts.Stopped:
            print(f"stopped; the same command goes on with {out}", flush=True)
            return exits.STOPPED


def distill(
    workdir: str, out: str, changes: Mapping[str, Any], signals: StopSignals, which: str = "last"
) -> int:
    """Trains the students of a run, from the start or from where they stopped.

    Args:
      workdir: of the teacher's run.
      out: folder of the student's run.
      changes: see `student_settings`.
      signals: what may ask it to stop.
      which: checkpoint of the teacher, see `Run.find_checkpoint`.

    Returns:
      The exit code.

    Raises:
      InputError: the run cannot teach, its data have changed, or `out` holds something else.
      Stopped: a signal came; the state is saved.
    """
    if out == workdir:
        raise InputError(f"--out={out}: is the folder of the teacher; name another one")
    teacher = Run(workdir)
    step = teacher.find_checkpoint(which)
    with _as_flags(out):
        _check_out(teacher, out)
        return _train(teacher, step, out, changes, signals)


def _train(
    teacher: Run, step: int, out: str, changes: Mapping[str, Any], signals: StopSignals
) -> int:
    """`distill`, from a checkpoint, where errors name the settings of the student's run."""
    if {**teacher.config, **changes}.get("starting_noise") == own_noise.CHOSEN:
        changes = {**changes, "starting_noise": chosen_noise(teacher, step, changes)}
    settings = student_settings(teacher, step, changes)
    return main.train(
        settings, out, signals, lambda dataset: make_begin(teacher, step, settings, dataset)
    )


@contextlib.contextmanager
def _as_flags(out: str) -> Iterator[None]:
    """Rewrites errors of a block that name --workdir, or a setting, with the flags given here."""
    try:
        yield
    except InputError as error:
        told = str(error).replace(f"--workdir={out}:", f"--out={out}:")
        told = told.replace("a new --workdir", "a new --out")
        settings = rf"(?<![-.\w])(config\.)?({'|'.join(_FLAG_OF)})="
        told = re.sub(settings, lambda found: f"--{_FLAG_OF[found[2]]}=", told)
        raise InputError(told) from error


def _check_out(teacher: Run, out: str) -> None:
    """Refuses an --out that holds a run, unless it has students of such a teacher on its data.

    Raises:
      InputError: it is one.
    """
    if not os.path.isfile(os.path.join(out, "config.json")):
        return
    other, learner = Run(out), one_call.PREFIX + teacher.config["algorithm"]
    same_data = other.dataset.get("sha256") == teacher.dataset.get("sha256")
    if other.config["algorithm"] != learner or not same_data:
        raise InputError(
            f"--out={out}: holds a run of {other.title}, and no student of {teacher.title} on the "
            "same data; use a new --out"
        )


def student_settings(teacher: Run, step: int, changes: Mapping[str, Any]) -> Settings:
    """The settings of a student's run: its teacher's, but for what a student does otherwise.

    Args:
      teacher: the run.
      step: which of its checkpoints.
      changes: settings of the student's run; `sampler` and `sampler_calls` are those of the chain.

    Raises:
      InputError: the run has no diffusion policy, or a value is of no use.
    """
    own = configuration.resolve(teacher.config).config
    name = one_call.PREFIX + own["algorithm"]
    if name not in algorithms.STUDENTS:
        one = own["algorithm"] in algorithms.STUDENTS
        raise InputError(
            f"--workdir={teacher.workdir}: {own['algorithm']} "
            f"{'acts in one call already' if one else 'has no diffusion policy'}; name the run of "
            f"one of {', '.join(key.removeprefix(one_call.PREFIX) for key in algorithms.STUDENTS)}"
        )
    if own["sampler"] == "ddim" and own["ddim_eta"] and "sampler" not in changes:
        own["sampler"] = "ddpm"  # as one that draws noise it is refused like ddpm
    chain = {key: changes.get(key, own[key]) for key in ("sampler", "sampler_calls")}
    alone = {entry.name: entry.default for entry in (*describe(Processes), *describe(Online))}
    num_steps = changes.get("num_steps", NUM_STEPS)
    return configuration.resolve(
        own
        | alone
        | {"eval_every": num_steps, "checkpoint_every": max(1, num_steps // 4), "writers": ()}
        | {"best_by": "score", "batch_size": BATCH_SIZE, "lr_decay_steps": 0}
        | {"ddim_eta": 0.0, "teacher_step": step}
        | {key: value for key, value in changes.items() if key not in chain}
        | {f"chain_{key.removeprefix('sampler_')}": value for key, value in chain.items()}
        | {entry.name: entry.default for entry in describe(one_call.Student) if entry.name in chain}
        | {side: teacher.dataset[side] for side in _BOX if side in teacher.dataset}
        | {"algorithm": name}
    )


def chosen_noise(teacher: Run, step: int, changes: Mapping[str, Any]) -> float:
    """The starting noise of the chains of a run whose policies choose it themselves.

    Args:
      teacher: the run.
      step: which of its checkpoints.
      changes: see `student_settings`; the choice is for the sampler of the chain.

    Returns:
      The median of what the members choose that have not diverged, for all students; the smaller
      one where two are in the middle.

    Raises:
      InputError: all of them have diverged, or the learner does not choose.
    """
    settings = configuration.resolve(
        teacher.config | {key: changes[key] for key in _OF_CHAIN if key in changes}
    )
    summary = teacher.dataset["summary"]
    sizes = summary["observation_dim"], summary["action_dim"], settings.config["horizon"]
    algorithm = algorithms.make(settings.algorithm, settings.learner, TaskSpec(*sizes))
    state = teacher.state(algorithm, step)
    actor = jax.vmap(algorithm.policy_params)(state)["actor"]
    several = settings.config["num_candidates"] > 1
    chosen = np.asarray(own_noise.scale_of(actor, several))
    sound = np.asarray(state.diverged) < 0
    if not sound.any():
        raise InputError(_ALL_DIVERGED.format(teacher.workdir))
    median = round(float(np.quantile(chosen[sound], 0.5, method="lower")), 6)  # float32
    found = ", ".join(f"{scale:g}" for scale in chosen[sound])
    print(f"starting noise that the teachers chose: {found}; students: {median:g}", flush=True)
    if several and len(set(np.asarray(actor[own_noise.CHOOSY])[sound].tolist())) > 1:
        print("some of them choose among candidates; --starting_noise sets another", flush=True)
    return median


def make_begin(
    teacher: Run, step: int, settings: Settings, dataset: data.Dataset
) -> Callable[[AgentState], AgentState]:
    """Makes the function that puts a checkpoint's policies into untrained students.

    Raises:
      InputError: the dataset is not the one that the teacher saw, or no member can be a teacher.
    """
    if dataset.info["sha256"] != teacher.dataset["sha256"]:
        raise InputError(
            f"--workdir={teacher.workdir}: its dataset {settings.task.name} has changed since; "
            "restore it"
        )
    algorithm = build.make_algorithm(configuration.resolve(teacher.config), dataset)
    state = teacher.state(algorithm, step)
    diverged = np.asarray(state.diverged)
    if (diverged >= 0).all():
        raise InputError(_ALL_DIVERGED.format(teacher.workdir))
    for member, update in zip(teacher.members, diverged, strict=True):
        if update >= 0:
            print(f"{member} diverged in update {update:,} and gets no student", flush=True)
    print(f"teacher: {teacher.title} after {step:,} updates", flush=True)

    def begin(untrained: AgentState) -> AgentState:
        layout = sharding.over_members(sharding.member_mesh(len(diverged)))
        put_in = jax.jit(
            jax.vmap(lambda networks: one_call.begin(settings.learner, networks)),
            out_shardings=layout,
        )
        networks = put_in(state.networks)
        return dataclasses.replace(untrained, networks=networks, diverged=state.diverged)

    return begin


if __name__ == "__main__":
    define_flags()
    launch.run(program, required=("workdir",))
