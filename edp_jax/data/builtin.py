"""The embedded datasets: made on this machine by rolling out shipped behaviour policies in MuJoCo, in D4RL's layout."""

import dataclasses
import difflib
import hashlib
import importlib.metadata
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np

from edp_jax.data.behaviour import Behaviour, read_behaviour
from edp_jax.data.d4rl import write_hdf5
from edp_jax.data.folder import folder_made
from edp_jax.data.raw import RawDataset
from edp_jax.types import InputError

_FOLDER = os.path.join(os.path.dirname(__file__), "behaviours")
_NUM_ENVS = 10  # in step with each other; so few rows keep BLAS on one thread, and its sums the same on every run
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """A part of a dataset: so many transitions of one behaviour policy's sampled actions in one gymnasium environment."""

    behaviour: str
    env_id: str
    num_transitions: int


_MEDIUM = Source("hopper-medium", "Hopper-v4", 150_000)
_EXPERT = Source("hopper-expert", "Hopper-v4", 150_000)
DATASETS = {"hopper-medium": (_MEDIUM,), "hopper-medium-expert": (_MEDIUM, _EXPERT)}


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
        parts = [collect(source, _SEED + index, progress) for index, source in enumerate(DATASETS[name])]
        fields = [field.name for field in dataclasses.fields(RawDataset) if getattr(parts[0], field.name) is not None]
        raw = RawDataset(**{field: np.concatenate([getattr(part, field) for part in parts]) for field in fields})
        write_hdf5(path, raw, attributes={"recipe": json.dumps(describe(name), sort_keys=True)})
    return path


def path_of(name: str, data_dir: str) -> str:
    """Where `ensure` keeps a dataset; the name carries a key of everything its content depends on: policies, sizes, versions."""
    key = hashlib.sha256(json.dumps(describe(name), sort_keys=True).encode()).hexdigest()[:12]
    return os.path.join(data_dir, "builtin", f"{name}-{key}.hdf5")


def describe(name: str) -> dict:
    """Everything the content of a built-in dataset depends on, as JSON values."""

    def digest(source: Source) -> str:
        with open(_behaviour_path(source.behaviour), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return {
        "format": 1,
        "seed": _SEED,
        "num_envs": _NUM_ENVS,
        "sources": [{**dataclasses.asdict(source), "sha256": digest(source)} for source in DATASETS[name]],
        "versions": {package: importlib.metadata.version(package) for package in ("mujoco", "gymnasium", "numpy")},
    }


def collect(source: Source, seed: int, progress: Callable[[str], None] = print) -> RawDataset:
    """Rolls out a behaviour policy, sampling its actions, from environment seeds `seed` on; the same numbers on every run.

    The steps of environment 0 come first, then those of environment 1 and so on; the last step of each is a timeout.
    """
    import gymnasium

    behaviour = load_behaviour(source.behaviour)
    rng = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*out of date", category=DeprecationWarning)
        environments = [gymnasium.make(source.env_id, disable_env_checker=True) for _ in range(_NUM_ENVS)]
    steps = source.num_transitions // _NUM_ENVS
    observation_dim = environments[0].observation_space.shape[0]
    observations = np.zeros((_NUM_ENVS, steps, observation_dim), np.float32)
    next_observations = np.zeros_like(observations)
    actions = np.zeros((_NUM_ENVS, steps, behaviour.action_dim), np.float32)
    rewards = np.zeros((_NUM_ENVS, steps), np.float32)
    terminals, timeouts = np.zeros((_NUM_ENVS, steps), bool), np.zeros((_NUM_ENVS, steps), bool)

    current = np.zeros((_NUM_ENVS, observation_dim), np.float32)
    for index, env in enumerate(environments):
        current[index] = env.reset(seed=_NUM_ENVS * seed + index)[0]
    for step in _with_progress(steps, f"{source.behaviour}: {source.num_transitions} transitions", progress):
        observations[:, step] = current
        actions[:, step] = behaviour.act(current, rng)
        for index, env in enumerate(environments):
            observation, rewards[index, step], terminated, truncated, _ = env.step(actions[index, step])
            next_observations[index, step] = observation
            terminals[index, step] = terminated
            timeouts[index, step] = not terminated and (truncated or step == steps - 1)
            current[index] = env.reset()[0] if terminated or truncated else observation

    def flat(array: np.ndarray) -> np.ndarray:
        return array.reshape(_NUM_ENVS * steps, *array.shape[2:])

    return RawDataset(*map(flat, (observations, actions, rewards, terminals, timeouts, next_observations)))


def _behaviour_path(name: str) -> str:
    return os.path.join(_FOLDER, f"{name}.npz")


def _with_progress(steps: int, title: str, progress: Callable[[str], None]) -> Iterator[int]:
    """Yields 0 .. steps - 1 and reports every tenth of them with the time left."""
    start, every = time.monotonic(), max(1, steps // 10)
    for step in range(steps):
        yield step
        done = step + 1
        if done % every == 0:
            left = (time.monotonic() - start) * (steps - done) / done
            progress(f"  {title}, {100 * done // steps:3d} %, {left:.0f} s left")
