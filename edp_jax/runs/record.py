"""config.json: what a run is, written at every start, and whether a folder can take a run."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax

from edp_jax.algorithms.groups import ACTING
from edp_jax.configuration import make_config
from edp_jax.files import write_json
from edp_jax.runs.reader import FORMAT, Run
from edp_jax.training.members import Member
from edp_jax.training.process import numeric_environment
from edp_jax.training.sharding import usable_cores
from edp_jax.training.tables import EVALUATIONS
from edp_jax.types import InputError

PER_PROCESS = frozenset({"process_id", "data_dir", "compilation_cache"})  # settings of one process
_SCORED = frozenset({"env_id", "env_kwargs", "reference_scores"})  # what returns and scores are of
# what the steps that are collected depend on
_ONLINE = frozenset({"num_steps", "env_id", "env_kwargs", *ACTING})
_PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"),
    *("gymnasium", "gymnasium-robotics", "mujoco"),
)


def check_workdir(
    workdir: str, config: Mapping, dataset: Mapping, may_change: Collection[str]
) -> None:
    """Checks that a folder can take a run, before anything is written.

    Args:
      workdir: the folder, which is made where there is none.
      config: all settings of the run.
      dataset: `info` of the dataset.
      may_change: settings that may have another value when a run goes on. What returns and scores
        are of may not once there are some: they would stand in one table with others. To train
        without an environment, and with it again, is no such change.

    Raises:
      InputError: the folder cannot be written, or holds something else than a run of these settings
        and this dataset.
    """
    try:
        os.makedirs(workdir, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--workdir={workdir}: cannot be made ({error.strerror}); "
            "name a folder that can be written"
        ) from error
    if not os.access(workdir, os.W_OK):
        raise InputError(f"--workdir={workdir}: cannot be written; name a folder that can")
    if not _has_config(workdir):
        checkpoints = os.path.join(workdir, "checkpoints")
        if os.path.exists(checkpoints) and (
            not os.path.isdir(checkpoints) or os.listdir(checkpoints)
        ):
            raise InputError(
                f"--workdir={workdir}: holds checkpoints but no config.json; use a new --workdir"
            )
        return
    run = Run(workdir)
    defaults = make_config(config["algorithm"], config.get("task"))
    previous, config, defaults = (
        json.loads(json.dumps(each)) for each in (run.config, config, defaults)
    )
    may_change = set(may_change)
    steps = [each.get("online_steps", 0) for each in (previous, config)]
    if bool(steps[0]) != bool(steps[1]):
        raise InputError(
            f"--workdir={workdir}: holds a run with online_steps={steps[0]}, not {steps[1]}; use a "
            "new --workdir, where --config.init_from=THIS_FOLDER begins where this one is"
        )
    may_change -= _ONLINE if all(steps) else set()
    evaluated = os.path.isfile(os.path.join(workdir, EVALUATIONS))
    scores_of = _last_scores_of(run.starts) or previous
    if evaluated and "none" not in (scores_of.get("env_id"), config.get("env_id")):
        may_change -= _SCORED
        previous |= {name: scores_of[name] for name in _SCORED & scores_of.keys()}
    same_data = run.dataset.get("sha256") == dataset["sha256"]
    if same_data and _is_file(str(previous.get("task"))) and _is_file(config.get("task", "")):
        may_change.add("task")  # the file has moved
    for key in sorted((previous.keys() | config.keys()) - may_change):
        before = previous.get(key, defaults.get(key))  # an old run lacks new settings
        if before != config.get(key):
            before, now = _what_differs(before, config.get(key))
            raise InputError(
                f"--workdir={workdir}: holds a run with {key}={repr(before)[:100]}, not "
                f"{repr(now)[:100]}; use a new --workdir, or that value to go on"
            )
    _check_environment(workdir, run.starts)
    if not same_data:
        name = dataset["path"] or dataset["name"]
        raise InputError(
            f"--workdir={workdir}: its dataset {name} has changed since; use a new --workdir"
        )


def _what_differs(before: Any, now: Any) -> tuple[Any, Any]:
    """Two values of a setting; of dictionaries, as `sweep` is one, only the entries that differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return before, now
    same = {key for key in before if key in now and before[key] == now[key]}
    first, second = ({k: v for k, v in each.items() if k not in same} for each in (before, now))
    return first, second


def shared_settings(config: Mapping, dataset: Mapping) -> dict[str, Any]:
    """Returns what has to be the same in all processes of a run, for `hosts.check_same_in_all`.

    Args:
      config: all settings of the run.
      dataset: `info` of the dataset.
    """
    shared = {key: value for key, value in config.items() if key not in PER_PROCESS}
    return {"config": shared, "sha256": dataset["sha256"]}


def check_shared(workdir: str) -> None:
    """Checks that this process sees the config.json that process 0 has written.

    Raises:
      InputError: it does not, so the processes do not share the folder.
    """
    if not _has_config(workdir):
        raise InputError(
            f"--workdir={workdir}: a process does not see what process 0 wrote there; "
            "name a folder all hosts share"
        )


def device_change(workdir: str) -> str | None:
    """A line if a run goes on with another number of devices or cores than before; else None."""
    starts = Run(workdir).starts if _has_config(workdir) else []
    last = starts[-1] if starts else {}
    changes = [
        f"{then} {name} before and {now} now"
        for name, then, now in (
            ("device(s)", len(last.get("devices", [])), len(jax.devices())),
            ("core(s)", last.get("cores"), _cores()),
        )
        if then and now and then != now
    ]
    if not changes:
        return None
    return (
        f"this run goes on elsewhere: {', '.join(changes)}. Sums are made in another order, so its "
        "numbers differ in their last bits from a run that had not changed"
    )


def _cores() -> int | None:
    """Cores that this process may use; None where they are not what it computes on."""
    return usable_cores() if jax.default_backend() == "cpu" else None


def write_config(
    workdir: str, config: Mapping, dataset: Mapping, members: Sequence[Member], step: int
) -> None:
    """Writes DIR/config.json, or adds a start to it.

    Args:
      workdir: DIR.
      config: all settings of the run.
      dataset: `info` of the dataset.
      members: R of them.
      step: updates done before.
    """
    start = {
        "step": step,
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("edp_jax", *_PACKAGES)},
        "environment": numeric_environment(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "cores": _cores(),
        "machine": _machine(),
        "scores_of": {name: config[name] for name in sorted(_SCORED & config.keys())},
    }
    record = {
        "format": FORMAT,
        "config": config,
        "dataset": dataset,
        "members": [member.columns for member in members],
        "starts": [*(Run(workdir).starts if _has_config(workdir) else []), start],
    }
    write_json(os.path.join(workdir, "config.json"), record)


def git_commit() -> str | None:
    """Returns the commit of this library's own checkout, with "-dirty" where it was changed.

    None where it is not in a checkout of its own: an installed copy may lie in the folder of
    somebody else's repository.
    """
    root = pathlib.Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    try:
        top = git("rev-parse", "--show-toplevel")
        own = bool(top) and os.path.samefile(top, root) and git("ls-files", "edp_jax/__init__.py")
        return git("describe", "--always", "--abbrev=40", "--dirty") if own else None
    except OSError:
        return None


def _last_scores_of(starts: Sequence[Mapping]) -> Mapping[str, Any]:
    """What returns and scores were of in the newest start with an environment; {} without any."""
    found = (start.get("scores_of", {}) for start in reversed(starts))
    return next((each for each in found if each.get("env_id", "none") != "none"), {})


def _check_environment(workdir: str, starts: Sequence[Mapping]) -> None:
    """Refuses a process whose environment would change the numbers of a run that goes on."""
    before, now = (starts[-1].get("environment", {}) if starts else {}), numeric_environment()
    for name in sorted(before.keys() | now.keys()) if starts else ():
        if before.get(name, "") != now.get(name, ""):
            raise InputError(
                f"--workdir={workdir}: its environment has {name}={before.get(name, '')[:60]!r}, "
                f"not {now.get(name, '')[:60]!r}; set it so, or use a new --workdir"
            )
    devices = [device for start in starts[-1:] for device in start.get("devices", [])]
    platforms = sorted({device.partition(":")[0] for device in devices})
    present = sorted({device.platform for device in jax.devices()})
    if platforms and platforms != present:
        raise InputError(
            f"--workdir={workdir}: holds a run of {', '.join(platforms)} devices, and those here "
            f"are {', '.join(present)}, where numbers are rounded otherwise; go on there (see "
            "JAX_PLATFORMS), or use a new --workdir"
        )


def _is_file(task: str) -> bool:
    """Whether a task is the path of a file or folder, perhaps after the prefix of its format."""
    return os.path.isabs(task) or os.path.isabs(task.partition(":")[2])


def recorded_dataset(workdir: str) -> Mapping[str, Any] | None:
    """What config.json of the run in a folder says of its dataset; None where there is no run."""
    return Run(workdir).dataset if _has_config(workdir) else None


def _has_config(workdir: str) -> bool:
    return os.path.isfile(os.path.join(workdir, "config.json"))


def _machine() -> str:
    """Host, number of cores that this process may use, and processor, where they are known."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{platform.node()}, {cores} core{'s' * (cores != 1)} of {processor}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
