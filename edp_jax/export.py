"""A trained policy as a folder of plain files: settings (policy.json), arrays (params.npz)."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from edp_jax import algorithms
from edp_jax.errors import one_line
from edp_jax.files import read_array, read_json, replacing, write_bytes, writing
from edp_jax.policy import in_dataset_units
from edp_jax.types import InputError, TaskSpec, Units

FORMAT = 2  # of the files; counts up when older ones can no longer be read
_KEY = jax.eval_shape(lambda: jax.random.key(0))


@dataclasses.dataclass(frozen=True)
class PolicyFile:
    """What a policy needs besides its parameters."""

    algorithm: str  # name of the learner, a key of `algorithms.REGISTRY`
    settings: Any  # of the learner
    spec: TaskSpec
    members: tuple[dict[str, float], ...]  # seed and swept settings of each of R policies
    units: Units  # leaves [O] or [A]
    execute: int | None = None  # of the H actions that they choose together, those to take
    diverged: tuple[int, ...] = ()  # update in which each did; -1 where it has not; (): none has


def save_policy(folder: str, file: PolicyFile, params: Any) -> None:
    """Writes the policies of all members.

    Args:
      folder: is made where it does not exist.
      file: what the policies have in common.
      params: `Algorithm.policy_params` of every member's state, leaves [R, ...].
    """
    with writing(folder):
        os.makedirs(folder, exist_ok=True)
    units = {name: np.asarray(value, np.float32) for name, value in vars(file.units).items()}
    tree = {"params": jax.device_get(params), "units": units}
    arrays: dict[str, Any] = dict(traverse_util.flatten_dict(tree, sep="/"))
    with replacing(os.path.join(folder, "params.npz")) as temporary, open(temporary, "wb") as out:
        np.savez(out, allow_pickle=False, **arrays)
    settings = {
        "format": FORMAT,
        "algorithm": file.algorithm,
        "config": dataclasses.asdict(file.settings),
        "spec": dataclasses.asdict(file.spec),
        "execute": file.execute,
        "members": list(file.members),
        "diverged": list(file.diverged),
    }
    write_bytes(os.path.join(folder, "policy.json"), json.dumps(settings, indent=2).encode())


class Policy:
    """A callable policy: observation [O] or [B, O] -> action [A] or [B, A].

    A policy with a horizon gives the actions to take in turn, before it is called again:
    [execute, A] or [B, execute, A]. All are in the units of the dataset that it was trained on.
    """

    def __init__(self, file: PolicyFile, params: Any):
        """Builds the policy of one member from its parameters."""
        self._spec, self._execute = file.spec, file.execute or file.spec.horizon
        if not isinstance(self._execute, int) or not 1 <= self._execute <= self.horizon:
            raise ValueError(f"execute is {self._execute}, horizon {self.horizon}")
        self._key = jax.random.key(0)
        self._calls = 0
        act = algorithms.make(file.algorithm, file.settings, file.spec).act
        act_in_units = in_dataset_units(act, file.units, self._execute)
        self._run = jax.jit(functools.partial(act_in_units, params))

    @property
    def observation_dim(self) -> int:
        """Columns of an observation, O."""
        return self._spec.observation_dim

    @property
    def action_dim(self) -> int:
        """Columns of an action, A."""
        return self._spec.action_dim

    @property
    def horizon(self) -> int:
        """Actions that it chooses together, H; 1: it gives single actions, without an axis."""
        return self._spec.horizon

    @property
    def execute(self) -> int:
        """How many of these it gives."""
        return self._execute

    def __call__(self, observation: np.ndarray, key: jax.Array | None = None) -> np.ndarray:
        """Chooses actions.

        Args:
          observation: [O] or [B, O], in the units of the dataset.
          key: random key; without one, the n-th call after loading always draws the same numbers.

        Returns:
          Action [A] or [B, A], or with a horizon [execute, A] or [B, execute, A], in the units of
          the dataset.

        Raises:
          InputError: the observation has another size than the policy's, or it or the action is
            NaN or infinite.
        """
        observation = self._checked(observation)
        if key is None:
            key = jax.random.fold_in(self._key, self._calls)
            self._calls += 1
        action = np.asarray(self._run(observation, key))
        if not np.isfinite(action).all():
            raise InputError(
                "policy: its action is NaN or infinite; either its training has diverged (see "
                "metrics.csv of the run), or the observation is far from the data"
            )
        return action

    def _checked(self, observation: Any) -> np.ndarray:
        """The observation as float32.

        Raises:
          InputError: it is none that the policy can take.
        """
        size = self.observation_dim
        if isinstance(observation, tuple) and len(observation) == 2:
            if isinstance(observation[1], Mapping):
                raise InputError(
                    "observation: a tuple (observation, info), as env.reset() returns; pass its "
                    "first part"
                )
        try:
            values = np.asarray(observation)
            if values.dtype.kind not in "fiub":
                raise ValueError(f"its type is {values.dtype}")
            with np.errstate(over="ignore"):  # what is too large is told below
                values = values.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"observation: no array of numbers ({one_line(error)}); pass one of shape "
                f"({size},) or (B, {size})"
            ) from error
        if values.ndim not in (1, 2) or values.shape[-1] != size:
            raise InputError(
                f"observation of shape {values.shape} does not fit: this policy takes "
                f"({size},) or (B, {size})"
            )
        broken = np.argwhere(~np.isfinite(values))
        if len(broken):
            place = ", ".join(map(str, broken[0]))
            value = np.asarray(observation)[tuple(broken[0])]
            raise InputError(
                f"observation[{place}] is {value}, not a finite number: check the sensor, or skip "
                "this step"
            )
        return values


def load_policy(folder: str | os.PathLike, seed: int | None = None, **point: float) -> Policy:
    """Loads one policy of a run.

    Args:
      folder: the run's policy/ folder.
      seed: whose policy; by default the first that has not diverged.
      **point: of a sweep, the values of the swept settings, as in `eta=0.5`.

    Raises:
      InputError: there is no policy in `folder`, it is damaged, none is of that description, or the
        training of that one has diverged.
    """
    folder = os.fspath(folder)
    path = os.path.join(folder, "policy.json")
    if not os.path.isfile(path):
        raise InputError(
            f"policy {folder!r}: no policy.json there; name the policy/ folder of a run"
        )
    described = _described(folder, path)
    if described.get("format") != FORMAT:
        raise InputError(
            f"policy {folder!r}: written by another version of edp_jax (format "
            f"{str(described.get('format', 1))[:20]}, not {FORMAT}); train it again, or use that "
            "version"
        )
    with _damage_told(folder):
        members = tuple(_member(member) for member in described["members"])
        settings = algorithms.settings(described["algorithm"], **described["config"])
        spec = TaskSpec(**described["spec"])
        diverged = tuple(map(int, described.get("diverged") or (-1,) * len(members)))
        if len(diverged) != len(members):
            raise ValueError(f"{len(diverged)} marks of divergence for {len(members)} members")
    which = point if seed is None else {"seed": seed, **point}
    index = _find_member(folder, members, which, diverged)
    with _damage_told(folder):
        algorithm = algorithms.make(described["algorithm"], settings, spec)
        like = jax.eval_shape(lambda key: algorithm.policy_params(algorithm.init(key)), _KEY)
        sizes = (spec.observation_dim, spec.observation_dim, spec.action_dim, spec.action_dim)
        names = (field.name for field in dataclasses.fields(Units))
        like_units = {
            name: jax.ShapeDtypeStruct((size,), np.float32)
            for name, size in zip(names, sizes, strict=True)
        }
        parts = traverse_util.unflatten_dict(_arrays(folder), sep="/")
        if any(len(leaf) != len(members) for leaf in jax.tree.leaves(parts["params"])):
            raise ValueError(f"not the parameters of {len(members)} members")
        params = jax.tree.map(lambda leaf: leaf[index], parts["params"])
        units, execute = Units(**parts["units"]), described.get("execute")
        found = {"params": params, "units": vars(units)}
        _check_arrays(found, {"params": like, "units": like_units})
        file = PolicyFile(described["algorithm"], settings, spec, members, units, execute, diverged)
        return Policy(file, params)


def _member(described: Any) -> dict[str, float]:
    """Seed and settings of a member."""
    if not all(type(value) in (int, float) for value in described.values()):
        raise ValueError("a member's seed or setting is no number")
    return dict(described)


def _arrays(folder: str) -> dict[str, np.ndarray]:
    path = os.path.join(folder, "params.npz")
    if not os.path.isfile(path):
        raise ValueError("there is no params.npz")
    with np.load(path, allow_pickle=False) as stored:
        return {name: read_array(stored, name) for name in stored.files}


def _check_arrays(tree: Any, like: Any) -> None:
    """Compares arrays with the names, shapes and types that a learner has.

    Raises:
      ValueError: they differ, or a number is NaN or infinite.
    """
    flat: list[Any] = [traverse_util.flatten_dict(each, sep="/") for each in (tree, like)]
    found, wanted = flat
    if found.keys() != wanted.keys():
        other = sorted(found.keys() ^ wanted.keys())[0]
        raise ValueError(f"{other!r:.60} is missing, or there without being wanted")
    for name, leaf in wanted.items():
        told, asked = (f"{a.dtype}{list(a.shape)}" for a in (found[name], leaf))
        if told != asked:
            raise ValueError(f"{name} is {told}, not {asked}")
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} is NaN or infinite")


def _described(folder: str, path: str) -> dict[str, Any]:
    with _damage_told(folder):
        described = read_json(path)
        if not isinstance(described, dict):
            raise ValueError("policy.json holds no object")
    return described


@contextlib.contextmanager
def _damage_told(folder: str) -> Iterator[None]:
    """Tells in one line what is wrong with the files of a policy that are read in the block."""
    try:
        yield
    except Exception as error:  # a damaged file can raise anything
        raise InputError(
            f"policy {folder!r}: damaged, or of another version ({type(error).__name__}: "
            f"{one_line(error)[:80]}); copy it again from its run"
        ) from error


def _find_member(
    folder: str,
    members: tuple[Mapping, ...],
    which: Mapping[str, float],
    diverged: tuple[int, ...],
) -> int:
    """Index of the first member of that description whose training has not diverged."""
    found = [i for i, member in enumerate(members) if which.items() <= member.items()]
    for index in found:
        if diverged[index] < 0:
            return index
    if found:
        name = ", ".join(f"{key} {value}" for key, value in members[found[0]].items())
        raise InputError(
            f"policy {folder!r}: the training of {name} diverged in update {diverged[found[0]]:,}; "
            "take another one, or train again with a lower learning_rate"
        )
    known = "; ".join(", ".join(f"{k}={v}" for k, v in member.items()) for member in members)
    asked = ", ".join(f"{name}={value}" for name, value in which.items())
    raise InputError(f"policy {asked} is not in {folder!r}: use one of {known}")
