"""The built-in datasets: made on this machine, by shipped behaviour policies in MuJoCo."""

import dataclasses
import difflib
import functools
import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from edp_jax.data import hdf5
from edp_jax.data.behaviour import Behaviour, read_behaviour
from edp_jax.data.folder import folder_made
from edp_jax.data.raw import RawDataset, called
from edp_jax.data.reader import Reader, Request
from edp_jax.data.recording import concatenate, in_box, record, uniform
from edp_jax.errors import not_installed
from edp_jax.files import remove_leftovers, replacing, sha256_of, write_bytes
from edp_jax.tasks import BUILTIN_QUALITIES, ENVIRONMENTS, ROBOTS, TASKS, Task
from edp_jax.types import InputError

NAME = "builtin"
PREFIX = "builtin/"
_CHECKSUM = ".sha256"  # the ending of the file beside a dataset that `sha256sum --check` reads
RANDOM = "random"  # in place of a behaviour policy: uniformly random actions
_FOLDER = os.path.join(os.path.dirname(__file__), "behaviours")
_ABANDONED = 120.0  # seconds without a write after which nobody writes to a temporary file
_NUM_ENVS = 10  # in step; so few rows keep BLAS on one thread, and its sums the same on every run
_SEED = 0
_SIZE = 150_000  # transitions of one policy
_REPLAY_SIZE = 160_000  # of all policies of medium-replay; an eighth is whole halfcheetah episodes
_REPLAY_STEPS = {  # of the learner, up to the medium stage, at which its actor was shipped
    "hopper": range(20_000, 180_000, 20_000),
    "halfcheetah": range(20_000, 80_000, 10_000),
    "walker2d": range(20_000, 320_000, 40_000),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A part of a dataset: transitions of one behaviour policy's sampled actions."""

    behaviour: str
    env_id: str  # of gymnasium
    num_transitions: int


def _sources(robot: str, quality: str) -> tuple[Source, ...]:
    """The parts of a dataset.

    medium-replay is what the learner's replay buffer held at the medium stage: the random start,
    then equal shares of its actors in the order of training.
    """
    medium, expert = f"{robot}-medium", f"{robot}-expert"
    learner = (RANDOM, *(f"{robot}-step_{step}" for step in _REPLAY_STEPS[robot]), medium)
    behaviours = {
        "medium": (medium,),
        "medium-replay": learner,
        "medium-expert": (medium, expert),
        "expert": (expert,),
        "random": (RANDOM,),
    }[quality]
    size = _REPLAY_SIZE // len(learner) if quality == "medium-replay" else _SIZE
    return tuple(Source(name, ENVIRONMENTS[robot].variant[0], size) for name in behaviours)


DATASETS = {
    f"{robot}-{quality}": _sources(robot, quality)
    for robot in ROBOTS
    for quality in BUILTIN_QUALITIES
}


def load_behaviour(name: str) -> Behaviour:
    """The shipped behaviour policy of that name; behaviours/NOTES.md tells how it was trained."""
    return read_behaviour(_behaviour_path(name))


def ensure(name: str, data_dir: str, progress: Callable[[str], None] = print) -> str:
    """Makes a built-in dataset where it does not exist yet.

    Args:
      name: a key of `DATASETS`.
      data_dir: the folder of data files; the dataset is kept in its folder "builtin".
      progress: takes lines that tell of the recording.

    Returns:
      The path of its file.

    Raises:
      InputError: there is no such dataset, the simulators are missing, or the folder cannot be
        written to.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS) or list(DATASETS)[:3]
        raise InputError(f"built-in dataset {name!r} does not exist; use one of: {', '.join(near)}")
    path = path_of(name, data_dir)
    if os.path.isfile(path):
        return path
    folder, file_name = os.path.split(path)
    with folder_made(folder):
        progress(
            f"builtin/{name}: made once on this machine, anew where it is stopped before its end; "
            f"kept as {path}"
        )
        sources = enumerate(DATASETS[name])
        raw = concatenate([collect(source, _SEED + index, progress) for index, source in sources])
        recipe = json.dumps(describe(name), sort_keys=True)
        remove_leftovers(folder, older_than=_ABANDONED)  # of starts that were killed
        with replacing(path) as temporary:
            hdf5.write_hdf5(temporary, raw, attributes={"recipe": recipe})
            line = f"{sha256_of(temporary)}  {file_name}\n"
            write_bytes(path + _CHECKSUM, line.encode())
    return path


def path_of(name: str, data_dir: str) -> str:
    """The file of a dataset; a key in its name stands for all that its content depends on."""
    key = hashlib.sha256(json.dumps(describe(name), sort_keys=True).encode()).hexdigest()[:12]
    return os.path.join(data_dir, "builtin", f"{name}-{key}.hdf5")


def describe(name: str) -> dict:
    """All that the content of a dataset depends on, as JSON values: policies, sizes, versions."""

    def digest(source: Source) -> str | None:
        if source.behaviour == RANDOM:
            return None
        return sha256_of(_behaviour_path(source.behaviour))

    packages = ("mujoco", "gymnasium", "numpy")
    try:
        versions = {package: importlib.metadata.version(package) for package in packages}
    except importlib.metadata.PackageNotFoundError as error:
        raise not_installed(f"builtin/{name}", error, "simulators") from error
    sources = DATASETS[name]
    return {
        "format": 1,
        "seed": _SEED,
        "num_envs": _NUM_ENVS,
        "sources": [{**dataclasses.asdict(part), "sha256": digest(part)} for part in sources],
        "versions": versions,
    }


def collect(source: Source, seed: int, progress: Callable[[str], None] = print) -> RawDataset:
    """Records one part of a dataset.

    Args:
      source: policy, environment and size.
      seed: of the environments and of the actions, see `record`.
      progress: takes lines that tell of the recording.

    Raises:
      InputError: the simulators are missing.
    """
    try:
        import gymnasium
        import mujoco  # noqa: F401  (where it is missing, gymnasium says so in many words)
    except ImportError as error:
        raise not_installed(f"behaviour {source.behaviour!r}", error, "simulators") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*out of date", category=DeprecationWarning)
        make = functools.partial(gymnasium.make, source.env_id, disable_env_checker=True)
        environments = [make() for _ in range(_NUM_ENVS)]
    box: Any = environments[0].action_space
    is_random = source.behaviour == RANDOM
    act = uniform(box.shape[0]) if is_random else load_behaviour(source.behaviour).act
    recording = record(
        environments,
        in_box(act, box.low, box.high),
        source.num_transitions,
        seed=seed,
        title=source.behaviour,
        progress=progress,
    )
    return recording.complete()


def _behaviour_path(name: str) -> str:
    return os.path.join(_FOLDER, f"{name}.npz")


def find(name: str) -> Task | None:
    """The task of a built-in dataset."""
    task = TASKS.get(name)
    return task if task is not None and task.reader == NAME else None


def locate(task: Task, data_dir: str) -> str | None:
    """The file of a dataset where the installed simulators have made it already, else None."""
    try:
        path = path_of(task.name.removeprefix(PREFIX), data_dir)
    except InputError:  # there are no simulators
        return None
    return path if os.path.isfile(path) else None


def read(request: Request) -> tuple[RawDataset, str | None]:
    """Reads a built-in dataset, which is made first where it does not exist yet."""
    name = request.task.name.removeprefix(PREFIX)
    path = ensure(name, request.data_dir, request.progress)
    notes = tuple(_unchecked(path))
    raw = hdf5.read_hdf5(path, storage=request.storage)
    return dataclasses.replace(raw, notes=notes + raw.notes), path


def _unchecked(path: str) -> Iterator[str]:
    """Compares a file with the sha256 that was recorded when it was made; a line if none was.

    Raises:
      InputError: they differ.
    """
    if not os.path.isfile(path + _CHECKSUM):
        yield (
            f"there is no {os.path.basename(path)}{_CHECKSUM}, so damage to the file would not be "
            "noticed; delete it to have it made again, with a checksum"
        )
        return
    with open(path + _CHECKSUM, encoding="utf-8", errors="replace") as file:
        recorded = file.read(200).split()[:1]
    if recorded != [sha256_of(path)]:
        raise InputError(
            f"{called(path)}: damaged, its sha256 is not the one that was recorded when it was "
            "made; delete it, and it is made again"
        )


def check(task: Task, data_dir: str) -> None:
    """Refuses a built-in dataset without the simulators, whose versions its file is named by."""
    path_of(task.name.removeprefix(PREFIX), data_dir)


READER = Reader(NAME, "builtin/<robot>-<quality>", find, read, locate, check=check)
