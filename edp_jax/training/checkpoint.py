"""Saving and restoring the state of a run; the only file that knows orbax."""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
import tensorstore

from edp_jax.algorithms.base import AgentState
from edp_jax.errors import one_line
from edp_jax.files import write_json, writing
from edp_jax.training import hosts
from edp_jax.types import InputError

_ITEM = "default"  # orbax's name of the one thing that a checkpoint holds
_DIGESTS = "sha256.json"  # ours, in the folder of a checkpoint
_METADATA = "_CHECKPOINT_METADATA"  # orbax's file about a checkpoint, with what is ours in it
_PLAIN_PATH = re.compile(r"[\w/ .,+=@%#~-]*")


class Checkpoints:
    """The newest states of a run, in a folder of their own.

    A state that is being saved is not visible before it is complete. Where several processes share
    a run, all of them call `save` and `restore`.
    """

    def __init__(self, folder: str, keep: int = 2, *, read_only: bool = False):
        """Opens the folder, and makes it where there is none.

        Args:
          folder: DIR/checkpoints of a run.
          keep: number of states that are kept; older ones are deleted.
          read_only: whether the folder stays as it is. A run may be saving there.
        """
        self._folder = os.path.abspath(folder)
        self._latest = newest_sound(self._folder)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else keep,
            enable_async_checkpointing=False,
            read_only=read_only,
        )
        if not read_only:
            with writing(self._folder):
                os.makedirs(self._folder, exist_ok=True)
        self._link = contextlib.ExitStack()
        path = self._link.enter_context(_plain(self._folder))
        self._manager = ocp.CheckpointManager(path, options=options)

    @property
    def latest_step(self) -> int | None:
        """Number of updates after which the newest sound state was saved; None without any."""
        return self._latest

    @property
    def notes(self) -> dict[str, Any]:
        """What the newest sound state was saved with as `notes`; empty without any."""
        return {} if self._latest is None else read_notes(self._folder, self._latest)

    def save(self, step: int, state: AgentState, notes: Mapping[str, Any] | None = None) -> None:
        """Saves the states of all members after `step` updates, unless they are saved. Collective.

        Args:
          step: updates done.
          state: [R].
          notes: what JSON can hold; `read_notes` returns it.

        Raises:
          InputError: the disk is full, or the folder cannot be written.
        """
        if step == self.latest_step:
            return
        content = ocp.args.StandardSave(_with_key_data(state))
        about, path = {"notes": dict(notes or {})}, os.path.join(self._folder, str(step))
        try:
            self._manager.save(step, args=content, force=True, custom_metadata=about)
            hosts.run_in_zero(lambda: write_json(os.path.join(path, _DIGESTS), _digests(path)))
        except InputError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"checkpoint {path!r}: cannot be saved ({one_line(error)[:90]}); see to it that "
                "there is room and the folder can be written: the same command goes on"
            ) from error
        self._latest = step

    def restore(self, like: AgentState) -> AgentState:
        """Returns the newest states [R], with the structure and on the devices of `like`.

        Raises:
          InputError: the checkpoint cannot be read into that structure.
        """
        path = os.path.join(self._folder, str(self.latest_step))
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _with_key_data(like))
        try:
            # what an older version did not save stays as in `like`
            saved = {name: getattr(target, name) for name in _top_names(os.path.join(path, _ITEM))}
            content = ocp.args.StandardRestore(saved)
            state: Any = self._manager.restore(self.latest_step, args=content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"checkpoint {path!r}: cannot be read ({one_line(error)}); move it away to go on "
                "from the one before"
            ) from error
        key = jax.random.wrap_key_data(state.pop("key"))
        return dataclasses.replace(like, key=key, **state)

    def close(self) -> None:
        """Frees what the folder's manager holds."""
        self._manager.close()
        self._link.close()


@contextlib.contextmanager
def _plain(folder: str) -> Iterator[str]:
    """A path of a folder that orbax and tensorstore can take.

    They look for files by patterns, in which characters such as [ mean something else.
    """
    if _PLAIN_PATH.fullmatch(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="edp_jax_") as place:
        path = os.path.join(place, "checkpoints")
        os.symlink(folder, path)
        yield path


def newest_sound(folder: str) -> int | None:
    """The step of the newest checkpoint that can be read whole; None where there is none."""
    return next((step for step in _steps(folder) if find_damage(folder, step) is None), None)


def set_unusable_aside(
    folder: str, disagrees: Callable[[int], str | None], tell: Callable[[str], None] = print
) -> None:
    """Moves checkpoints out of the way, from the newest on, until one can be used.

    They are kept beside the folder, under DIR/set_aside. None may be left; the run begins anew
    then.

    Args:
      folder: DIR/checkpoints of a run.
      disagrees: what the tables of the run lack of those that a sound checkpoint was saved with, by
        its step; None where they agree.
      tell: takes a line about each that is moved.

    Raises:
      InputError: there are checkpoints and all are damaged. None is moved then.
    """
    steps, reasons = _steps(folder), {}
    damage = {step: find_damage(folder, step) for step in steps}
    if steps and all(damage.values()):
        raise InputError(
            f"{folder}: no checkpoint there can be read ({steps[0]}: {damage[steps[0]]}); "
            "restore one, or move the folder away to begin anew"
        )
    for step in steps:
        if damage[step] is not None:
            reasons[step] = f"is damaged ({damage[step]})"
        elif (difference := disagrees(step)) is not None:
            reasons[step] = f"is not used, since {difference}"
        else:
            break
    aside = os.path.join(os.path.dirname(os.path.abspath(folder)), "set_aside")
    for step, reason in reasons.items():
        with writing(aside):
            os.makedirs(aside, exist_ok=True)
            place = os.path.join(tempfile.mkdtemp(prefix=f"{step}_", dir=aside), str(step))
            os.rename(os.path.join(folder, str(step)), place)
        tell(f"checkpoint {step:,} {reason}; it is now {place}")
    if reasons and len(reasons) == len(steps):
        tell("no checkpoint is left that can be used: the run begins anew")


def find_damage(folder: str, step: int) -> str | None:
    """Reads a checkpoint, and compares its files with what they were when it was saved.

    Returns:
      What is wrong with it, None where nothing is. Of one that has no digests, because it is older
      than they are or the run was killed just then, every array only has to be readable.
    """
    path = os.path.join(os.path.abspath(folder), str(step))
    try:
        with _plain(path) as plain:
            if os.path.exists(os.path.join(path, _DIGESTS)):
                saved, found = _read_json(os.path.join(path, _DIGESTS)), _digests(path)
                wrong = sorted(name for name in saved if found.get(name) != saved[name])
                return f"{wrong[0]} is not as it was saved" if wrong else None
            item = os.path.join(plain, _ITEM)
            for name in _array_metadata(item):
                _read_json(os.path.join(item, name))
            for name in _leaves(item):
                _read_array(item, ".".join(name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return one_line(error)[:80]
    return None


def read_notes(folder: str, step: int) -> dict[str, Any]:
    """What a sound checkpoint was saved with as `notes`."""
    return _about(folder, step).get("notes", {})


def _digests(path: str) -> dict[str, str]:
    """The sha256 of every file in a folder and those below, by its name there."""
    digests = {}
    for place, _, names in os.walk(path):
        for name in names:
            whole = os.path.join(place, name)
            with open(whole, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            digests[os.path.relpath(whole, path)] = digest
    digests.pop(_DIGESTS, None)
    return digests


def _about(folder: str, step: int) -> dict[str, Any]:
    """What `save` wrote of its own into orbax's file about a checkpoint."""
    about = _read_json(os.path.join(folder, str(step), _METADATA))
    return about.get("custom_metadata") or {}


def _steps(folder: str) -> list[int]:
    """Of all checkpoints, from the newest to the oldest."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(
        (int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)), reverse=True
    )


def _array_metadata(item: str) -> list[str]:
    name = "array_metadatas"
    path = os.path.join(item, name)
    return [os.path.join(name, of) for of in os.listdir(path)] if os.path.isdir(path) else []


def _read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _leaves(item: str) -> list[list[str]]:
    """The path of every array of a checkpoint."""
    return [
        [part["key"] for part in leaf["key_metadata"]]
        for leaf in _read_json(os.path.join(item, "_METADATA"))["tree_metadata"].values()
        if not leaf["value_metadata"]["skip_deserialize"]
    ]


def _top_names(item: str) -> list[str]:
    return list(dict.fromkeys(path[0] for path in _leaves(item)))


def _read_array(item: str, path: str) -> None:
    base = {"driver": "file", "path": item + "/"}
    store = {"driver": "ocdbt", "base": base, "path": path + "/"}
    tensorstore.open({"driver": "zarr", "kvstore": store}, read=True).result().read().result()


def _with_key_data(state: AgentState) -> AgentState:
    """The state with its keys as integers, since orbax cannot save JAX's type of keys."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))
