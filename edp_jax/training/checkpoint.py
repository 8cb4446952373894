"""Saving and restoring the state of a run; the only file that knows orbax."""

import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
import tensorstore

from edp_jax.algorithms.base import AgentState
from edp_jax.errors import one_line
from edp_jax.types import InputError

_ITEM = "default"  # orbax's name of the one thing that a checkpoint holds
_PLAIN_PATH = re.compile(r"[\w/ .,+=@%#~-]*")


class Checkpoints:
    """States of a run in a folder of their own: the newest ones, the best, and every n-th.

    A state that is being saved is not visible before it is complete. Where several processes share
    a run, all of them call `save` and `restore`.
    """

    def __init__(
        self, folder: str, keep_last: int = 2, keep_every: int = 0, *, read_only: bool = False
    ):
        """Opens the folder, and makes it where there is none.

        Args:
          folder: DIR/checkpoints of a run.
          keep_last: number of the newest states that are kept; older ones are deleted.
          keep_every: those after so many updates, or a multiple of it, are kept as well; 0: none.
          read_only: whether the folder stays as it is. A run may be saving there.
        """
        self._folder = os.path.abspath(folder)
        self._latest = newest_sound(self._folder)
        self._keep_last, self._keep_every, self._best = keep_last, keep_every, None
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, read_only=read_only
        )
        if not read_only:
            os.makedirs(self._folder, exist_ok=True)
        # orbax looks for files by patterns, in which characters such as [ mean something else
        path, self._link = self._folder, None
        if not _PLAIN_PATH.fullmatch(path):
            self._link = tempfile.TemporaryDirectory(prefix="edp_jax_")
            path = os.path.join(self._link.name, "checkpoints")
            os.symlink(self._folder, path)
        self._manager = ocp.CheckpointManager(path, options=options)

    @property
    def latest_step(self) -> int | None:
        """Number of updates after which the newest sound state was saved; None without any."""
        return self._latest

    def save(self, step: int, state: AgentState) -> None:
        """Saves the states of all members [R] after `step` updates, unless they are saved."""
        if step != self.latest_step:
            content = ocp.args.StandardSave(_with_key_data(state))
            self._manager.save(step, args=content, force=True)
            self._latest = step
            self._delete_old()

    def keep_best(self, step: int | None) -> None:
        """Keeps the state after `step` updates, and no longer that which was kept as the best."""
        self._best = step
        self._delete_old()

    def _delete_old(self) -> None:
        steps = sorted(self._manager.all_steps())
        kept = {*steps[-self._keep_last :], self._best}
        for step in steps:
            if step not in kept and not (self._keep_every and step % self._keep_every == 0):
                self._manager.delete(step)

    def restore(self, like: AgentState, step: int | None = None) -> AgentState:
        """Returns states [R], with the structure and on the devices of `like`.

        Args:
          like: states of the same learner.
          step: updates after which they were saved; None: the newest.

        Raises:
          InputError: the checkpoint cannot be read into that structure.
        """
        step = self.latest_step if step is None else step
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _with_key_data(like))
        content = ocp.args.StandardRestore(target)
        try:
            state: Any = self._manager.restore(step, args=content)
        except (OSError, ValueError, TypeError, KeyError) as error:
            path = os.path.join(self._folder, str(step))
            raise InputError(
                f"checkpoint {path!r}: cannot be read ({one_line(error)}); move it away to go on "
                "from the one before"
            ) from error
        return dataclasses.replace(state, key=jax.random.wrap_key_data(state.key))

    def close(self) -> None:
        """Frees what the folder's manager holds."""
        self._manager.close()
        if self._link is not None:
            self._link.cleanup()


def saved_steps(folder: str) -> list[int]:
    """Of all checkpoints, from the newest to the oldest."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(
        (int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)), reverse=True
    )


def newest_sound(folder: str) -> int | None:
    """The step of the newest checkpoint that can be read whole; None where there is none."""
    return next((step for step in saved_steps(folder) if find_damage(folder, step) is None), None)


def set_damaged_aside(folder: str, tell: Callable[[str], None] = print) -> None:
    """Moves damaged checkpoints that are newer than a sound one out of the way.

    They are kept beside the folder, under DIR/damaged_checkpoints.

    Args:
      folder: DIR/checkpoints of a run.
      tell: takes a line about each that is moved.

    Raises:
      InputError: there are checkpoints and none is sound. None is moved then.
    """
    damaged: dict[int, str] = {}
    for step in saved_steps(folder):
        reason = find_damage(folder, step)
        if reason is None:
            break
        damaged[step] = reason
    else:
        if damaged:
            step, reason = next(iter(damaged.items()))
            raise InputError(
                f"{folder}: no checkpoint there can be read ({step}: {reason[:80]}); restore one, "
                "or move the folder away to begin anew"
            )
        return
    aside = os.path.join(os.path.dirname(os.path.abspath(folder)), "damaged_checkpoints")
    for step, reason in damaged.items():
        os.makedirs(aside, exist_ok=True)
        place = os.path.join(tempfile.mkdtemp(prefix=f"{step}_", dir=aside), str(step))
        os.rename(os.path.join(folder, str(step)), place)
        tell(f"checkpoint {step:,} is damaged ({reason}); it is now {place}")


def find_damage(folder: str, step: int) -> str | None:
    """Reads every array of a checkpoint; what is wrong with it, None where all can be read."""
    item = os.path.join(folder, str(step), _ITEM)
    try:
        for name in ("_METADATA", *_array_metadata(item)):
            with open(os.path.join(item, name), encoding="utf-8") as file:
                content = json.load(file)
            if name == "_METADATA":
                leaves = content["tree_metadata"].values()
        for leaf in leaves:
            if not leaf["value_metadata"]["skip_deserialize"]:
                path = ".".join(part["key"] for part in leaf["key_metadata"])
                _read_array(item, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return one_line(error)[:80]
    return None


def _array_metadata(item: str) -> list[str]:
    name = "array_metadatas"
    path = os.path.join(item, name)
    return [os.path.join(name, of) for of in os.listdir(path)] if os.path.isdir(path) else []


def _read_array(item: str, path: str) -> None:
    base = {"driver": "file", "path": item + "/"}
    store = {"driver": "ocdbt", "base": base, "path": path + "/"}
    tensorstore.open({"driver": "zarr", "kvstore": store}, read=True).result().read().result()


def _with_key_data(state: AgentState) -> AgentState:
    """The state with its keys as integers, since orbax cannot save JAX's type of keys."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))
