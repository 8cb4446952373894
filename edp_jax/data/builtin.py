"""The embedded datasets: made on this machine by rolling out shipped behaviour policies in MuJoCo, in D4RL's layout."""

import dataclasses
import difflib
import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Callable, Iterable

from edp_jax.data.behaviour import Behaviour, read_behaviour
from edp_jax.data.d4rl import write_hdf5
from edp_jax.data.folder import folder_made
from edp_jax.data.raw import RawDataset
from edp_jax.data.recording import concatenate, in_box, record, uniform
from edp_jax.types import InputError

RANDOM = "random"  # in place of a behaviour policy: uniformly random actions
_FOLDER = os.path.join(os.path.dirname(__file__), "behaviours")
_NUM_ENVS = 10  # in step with each other; so few rows keep BLAS on one thread, and its sums the same on every run
_SEED = 0
_SIZE = 150_000  # transitions of one policy
_REPLAY_SIZE = (
    160_000  # of all policies of medium-replay; an eighth is whole episodes of halfcheetah
)


@dataclasses.dataclass(frozen=True)
class Source:
    """A part of a dataset: so many transitions of one behaviour policy's sampled actions in one gymnasium environment."""

    behaviour: str
    env_id: str
    num_transitions: int


def _datasets(robot: str, env_id: str, replay: Iterable[int]) -> dict[str, tuple[Source, ...]]:
    """The datasets of a robot; `replay`: steps of the learner up to the medium stage at which its actor was shipped.

    medium-replay is what the learner's replay buffer holds at the medium stage: the random start, then equal shares of its
    actors in training order.
    """

    medium, expert, random = (
        Source(name, env_id, _SIZE) for name in (f"{robot}-medium", f"{robot}-expert", RANDOM)
    )
    learner = (RANDOM, *(f"{robot}-step_{step}" for step in replay), medium.behaviour)
    return {
        f"{robot}-medium": (medium,),
        f"{robot}-medium-replay": tuple(
            Source(name, env_id, _REPLAY_SIZE // len(learner)) for name in learner
        ),
        f"{robot}-medium-expert": (medium, expert),
        f"{robot}-expert": (expert,),
        f"{robot}-random": (random,),
    }


DATASETS = {
    **_datasets("hopper", "Hopper-v4", range(20_000, 180_000, 20_000)),
    **_datasets("halfcheetah", "HalfCheetah-v4", range(20_000, 80_000, 10_000)),
    **_datasets("walker2d", "Walker2d-v4", range(20_000, 320_000, 40_000)),
}


def load_behaviour(name: str) -> Behaviour:
    """The shipped behaviour policy of that name; behaviours/NOTES.md says how it was trained."""
    return read_behaviour(_behaviour_path(name))


def ensure(name: str, data_dir: str, progress: Callable[[str], None] = print) -> str:
    """The path of a built-in dataset below `data_dir`/builtin, which is made first where it does not exist yet.

    Raises:
        InputError: there is no such dataset, or the folder cannot be written to.
    """
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS) or sorted(DATASETS)
        raise InputError(f"built-in dataset {name!r} does not exist; use one of: {', '.join(near)}")
    path = path_of(name, data_dir)
    if os.path.isfile(path):
        return path
    with folder_made(os.path.dirname(path)):
        progress(f"builtin/{name}: made once on this machine, kept as {path}")
        raw = concatenate(
            [
                collect(source, _SEED + index, progress)
                for index, source in enumerate(DATASETS[name])
            ]
        )
        write_hdf5(path, raw, attributes={"recipe": json.dumps(describe(name), sort_keys=True)})
    return path


def path_of(name: str, data_dir: str) -> str:
    """Where `ensure` keeps a dataset; the name carries a key of everything its content depends on: policies, sizes, versions."""
    key = hashlib.sha256(json.dumps(describe(name), sort_keys=True).encode()).hexdigest()[:12]
    return os.path.join(data_dir, "builtin", f"{name}-{key}.hdf5")


def describe(name: str) -> dict:
    """Everything the content of a built-in dataset depends on, as JSON values."""

    def digest(source: Source) -> str | None:
        if source.behaviour == RANDOM:
            return None
        with open(_behaviour_path(source.behaviour), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return {
        "format": 1,
        "seed": _SEED,
        "num_envs": _NUM_ENVS,
        "sources": [
            {**dataclasses.asdict(source), "sha256": digest(source)} for source in DATASETS[name]
        ],
        "versions": {package: _version(package) for package in ("mujoco", "gymnasium", "numpy")},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def collect(source: Source, seed: int, progress: Callable[[str], None] = print) -> RawDataset:
    """Rolls out a behaviour policy, sampling its actions, in environments seeded from `seed` on.

    Raises:
        InputError: the simulators are not installed.
    """
    try:
        import gymnasium
        import mujoco  # noqa: F401  (gymnasium tells of its absence in many words)
    except ImportError as error:
        raise InputError(
            f"built-in datasets are made in simulators: {error}; pip install 'edp_jax[simulators]'"
        ) from error

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*out of date", category=DeprecationWarning)
        environments = [
            gymnasium.make(source.env_id, disable_env_checker=True) for _ in range(_NUM_ENVS)
        ]
    box = environments[0].action_space
    act = (
        uniform(box.shape[0])
        if source.behaviour == RANDOM
        else load_behaviour(source.behaviour).act
    )
    return record(
        environments,
        in_box(act, box.low, box.high),
        source.num_transitions,
        seed=seed,
        title=source.behaviour,
        progress=progress,
    )


def _behaviour_path(name: str) -> str:
    return os.path.join(_FOLDER, f"{name}.npz")
