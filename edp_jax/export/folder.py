"""A trained policy as a folder of plain files: settings (policy.json), arrays (params.npz)."""

import contextlib
import dataclasses
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from edp_jax import algorithms
from edp_jax.errors import one_line
from edp_jax.files import read_array, read_json, replacing, write_bytes, writing
from edp_jax.types import InputError, TaskSpec, Units

FORMAT = 2  # of the files; counts up when older ones can no longer be read
_SIZES = ("observation_dim", "action_dim", "horizon")
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
        "spec": {name: getattr(file.spec, name) for name in _SIZES},
        "execute": file.execute,
        "members": list(file.members),
        "diverged": list(file.diverged),
    }
    write_bytes(os.path.join(folder, "policy.json"), json.dumps(settings, indent=2).encode())


@dataclasses.dataclass(frozen=True)
class Stored:
    """What a folder holds: the policies of all R members."""

    file: PolicyFile
    params: Any  # `Algorithm.policy_params`, leaves [R, ...]

    def described(self, folder: str, which: Mapping[str, float]) -> list[int]:
        """Indices of the members of that description.

        Args:
          folder: to name in an error.
          which: seed and swept settings, or some of them.

        Raises:
          InputError: there is none.
        """
        members = self.file.members
        if found := [i for i, member in enumerate(members) if which.items() <= member.items()]:
            return found
        known = "; ".join(", ".join(f"{k}={v}" for k, v in member.items()) for member in members)
        asked = ", ".join(f"{name}={value}" for name, value in which.items())
        raise InputError(f"policy {asked} is not in {folder!r}: use one of {known}")

    def find(self, folder: str, which: Mapping[str, float]) -> int:
        """Index of the first member of that description whose training has not diverged.

        Args:
          folder: to name in an error.
          which: seed and swept settings, or some of them.

        Raises:
          InputError: none is of that description, or its training has diverged.
        """
        members, diverged = self.file.members, self.file.diverged
        found = self.described(folder, which)
        for index in found:
            if not diverged or diverged[index] < 0:
                return index
        name = ", ".join(f"{key} {value}" for key, value in members[found[0]].items())
        raise InputError(
            f"policy {folder!r}: the training of {name} diverged in update "
            f"{diverged[found[0]]:,}; take another one, or train again with a lower learning_rate"
        )

    def params_of(self, folder: str, index: int) -> Any:
        """The parameters of one member.

        Raises:
          InputError: a number of them is NaN or infinite.
        """
        with _damage_told(folder):
            params = jax.tree.map(lambda leaf: leaf[index], self.params)
            _check_finite("params", params)
            return params


def read_folder(folder: str) -> Stored:
    """Reads the policies of all members of a run.

    Args:
      folder: the run's policy/ folder.

    Raises:
      InputError: there is no policy in `folder`, or it is damaged.
    """
    path = os.path.join(folder, "policy.json")
    if not os.path.isdir(folder):
        raise InputError(
            f"policy {folder!r}: no such folder; name that of a run, which writes its policy/ "
            "when it stops, or a file that experiments.export wrote"
        )
    if not os.path.isfile(path):
        raise InputError(
            f"policy {folder!r}: no policy.json there; name the policy/ folder of a run, which "
            "writes it when it stops"
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
        algorithm = algorithms.make(described["algorithm"], settings, spec)
        # as in the run, whatever this process computes with; initialisers of JAX warn of that
        with jax.enable_x64(False), warnings.catch_warnings(action="ignore"):
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
        first = jax.tree.map(lambda leaf: leaf[0], parts["params"])
        _check_arrays(
            {"params": first, "units": parts["units"]}, {"params": like, "units": like_units}
        )
        _check_finite("units", parts["units"])
        execute = described.get("execute")
        if execute is not None and execute not in range(1, spec.horizon + 1):
            raise ValueError(f"execute is {execute}, horizon {spec.horizon}")
        units = Units(**parts["units"])
        file = PolicyFile(described["algorithm"], settings, spec, members, units, execute, diverged)
        return Stored(file, parts["params"])


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
      ValueError: they differ.
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


def _check_finite(name: str, tree: Any) -> None:
    for key, leaf in traverse_util.flatten_dict(tree, sep="/").items():
        if not np.isfinite(np.asarray(leaf)).all():
            raise ValueError(f"{name}/{key} is NaN or infinite")


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
            f"{one_line(error)[:80]}); copy it again from its run, or train again"
        ) from error
