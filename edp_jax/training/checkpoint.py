"""Saving and restoring the state of a run; the only file that knows orbax."""

import contextlib
import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from edp_jax.algorithms.base import AgentState
from edp_jax.errors import one_line
from edp_jax.files import read_json, sha256_of_all, write_json, writing
from edp_jax.training import hosts, sharding
from edp_jax.types import InputError

_DIGESTS = "sha256.json"  # ours, in the folder of a checkpoint
_METADATA = "_CHECKPOINT_METADATA"  # orbax's file about a checkpoint, with what is ours in it
_MORE = "more"  # the name of `arrays` beside the fields of a state
_PLAIN_PATH = re.compile(r"[\w/ .,+=@%#~-]*")


class Checkpoints:
    """States of a run in a folder of their own: the newest ones, the best, and some for good.

    A state that is being saved is not visible before it is complete. Where several processes share
    a run, all of them call the methods; process 0 writes the files.
    """

    def __init__(
        self,
        folder: str,
        latest: int | None,
        keep_last: int = 2,
        keeps: Callable[[int], bool] = lambda step: False,
    ):
        """Takes over a folder, and makes it where there is none. Collective.

        Args:
          folder: DIR/checkpoints of a run.
          latest: step of its newest sound state, see `recovery`; None without any.
          keep_last: number of the newest states that are kept; older ones are deleted.
          keeps: says whether the state after so many updates is kept for good.
        """
        self._folder, self._latest = os.path.abspath(folder), latest
        self._keep_last, self._keeps, self._best = keep_last, keeps, None
        self._link = contextlib.ExitStack()
        hosts.run_in_zero(self._open)

    def _open(self) -> None:
        with writing(self._folder):
            os.makedirs(self._folder, exist_ok=True)
        path = self._link.enter_context(_plain(self._folder))
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, create=False, multiprocessing_options=_alone()
        )
        # one file per array: each save in orbax's other format leaves 15 to 35 kB in memory
        handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, multiprocessing_options=_alone())
        self._manager = ocp.CheckpointManager(path, options=options, item_handlers=handler)
        self._link.callback(self._manager.close)

    @property
    def latest_step(self) -> int | None:
        """Number of updates after which the newest sound state was saved; None without any."""
        return self._latest

    @property
    def notes(self) -> dict[str, Any]:
        """What process 0 saved the newest sound state with; empty without, and in all others."""
        if self._latest is None or not hosts.is_process_zero():
            return {}
        return read_notes(self._folder, self._latest)

    def save(
        self,
        step: int,
        state: AgentState,
        notes: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Saves the states of all members after `step` updates, unless they are saved. Collective.

        Args:
          step: updates done.
          state: [R].
          notes: what JSON can hold; `read_notes` returns it.
          arrays: more of them, which `arrays` returns; none is empty.

        Raises:
          InputError: the disk is full, or the folder cannot be written.
        """
        if step == self.latest_step:
            return
        fields = vars(jax.tree.map(_fetch_to_zero, _with_key_data(state)))
        content = ocp.args.PyTreeSave(fields | ({_MORE: dict(arrays)} if arrays else {}))
        path = os.path.join(self._folder, str(step))

        def write() -> None:
            about = {"notes": dict(notes or {})}
            with _trouble_told(f"checkpoint {path!r}: cannot be saved"):
                self._manager.save(step, args=content, force=True, custom_metadata=about)
                write_json(os.path.join(path, _DIGESTS), sha256_of_all(path))
            self._delete_old()

        hosts.run_in_zero(write)
        self._latest = step

    def keep_best(self, step: int | None) -> None:
        """Keeps the state after `step` updates, and no longer that which was kept as the best.

        Raises:
          InputError: the folder cannot be written, or is gone.
        """
        self._best = step
        hosts.run_in_zero(self._delete_old)

    def _delete_old(self) -> None:
        with _trouble_told(f"{self._folder}: old checkpoints cannot be deleted"):
            steps = sorted(self._manager.all_steps())
            kept = {*steps[-self._keep_last :], self._best}
            for step in steps:
                if step not in kept and not self._keeps(step):
                    self._manager.delete(step)

    def restore(self, like: AgentState) -> AgentState:
        """The newest sound state; see `restore`. Collective."""
        return restore(self._folder, self._latest, like)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the newest sound state was saved with as `arrays`; empty without."""
        if self._latest is None:
            return {}
        return _read(os.path.join(self._folder, str(self._latest))).get(_MORE, {})

    def close(self) -> None:
        """Frees what the folder's manager holds."""
        self._link.close()


@contextlib.contextmanager
def _trouble_told(what: str) -> Iterator[None]:
    """Tells in one line why the folder cannot be worked on: it is full, read-only, or gone."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} ({one_line(error)[:90]}); see to it that there is room and the folder can be "
            "written: the same command goes on"
        ) from error


def restore(folder: str, step: int | None, like: AgentState) -> AgentState:
    """Reads the states of all members. Collective.

    Args:
      folder: DIR/checkpoints of a run.
      step: updates after which they were saved.
      like: states [R] of the same learner. What an older version did not save stays as in `like`.

    Returns:
      States [R], with the structure and on the devices of `like`.

    Raises:
      InputError: the checkpoint cannot be read, or not into that structure.
    """
    path, target = os.path.join(folder, str(step)), _with_key_data(like)

    def read() -> dict[str, Any]:
        try:
            return _read(path, vars(target))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            remedy = "move it away to go on from the one before"
            if "do not match" in str(error):  # the arrays that are there and those of the learner
                remedy = "use the version of edp_jax that wrote it, or train again"
            why = one_line(error)[:90]
            raise InputError(f"checkpoint {path!r}: cannot be read ({why}); {remedy}") from error

    saved = {
        name: jax.tree.map(
            lambda array, old: sharding.put(array, old.sharding), part, getattr(target, name)
        )
        for name, part in hosts.run_in_all(read).items()
        if name != _MORE
    }
    return dataclasses.replace(like, **saved | {"key": jax.random.wrap_key_data(saved["key"])})


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


def saved_steps(folder: str) -> list[int]:
    """Of all checkpoints, from the newest to the oldest."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(
        (int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name)), reverse=True
    )


def newest_sound(folder: str) -> int | None:
    """The step of the newest checkpoint that can be read whole; None where there is none."""
    return next((step for step in saved_steps(folder) if find_damage(folder, step) is None), None)


def find_damage(folder: str, step: int) -> str | None:
    """Reads a checkpoint, and compares its files with what they were when it was saved.

    Returns:
      What is wrong with it, None where nothing is. Of one that has no digests, because it is older
      than they are or the run was killed just then, every array only has to be readable.
    """
    path = os.path.join(os.path.abspath(folder), str(step))
    try:
        if os.path.exists(os.path.join(path, _DIGESTS)):
            saved, found = read_json(os.path.join(path, _DIGESTS)), sha256_of_all(path)
            wrong = sorted(name for name in saved if found.get(name) != saved[name])
            return f"{wrong[0]} is not as it was saved" if wrong else None
        _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return one_line(error)[:80]
    return None


def read_notes(folder: str, step: int) -> dict[str, Any]:
    """What a sound checkpoint was saved with as `notes`."""
    return _about(folder, step).get("notes", {})


def _about(folder: str, step: int) -> dict[str, Any]:
    """What `save` wrote of its own into orbax's file about a checkpoint."""
    about = read_json(os.path.join(folder, str(step), _METADATA))
    return about.get("custom_metadata") or {}


def _read(path: str, target: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Reads the arrays of a checkpoint, in either format of orbax.

    Args:
      path: its folder.
      target: what they are to fit, by the fields of a state; None, and what is not in it: anything.

    Returns:
      The fields of a state with numpy arrays, those that were saved, and `_MORE`.

    Raises:
      ValueError: they do not fit. Orbax raises errors of other kinds as well.
    """
    handler = ocp.CompositeCheckpointHandler(
        default=ocp.PyTreeCheckpointHandler(multiprocessing_options=_alone())
    )
    with (
        _plain(path) as place,
        ocp.Checkpointer(handler, multiprocessing_options=_alone()) as reader,
    ):
        like = saved = reader.metadata(place).item_metadata["default"].tree
        if target is not None:
            like = {name: target.get(name, saved[name]) for name in saved}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        wanted = ocp.args.Composite(default=ocp.args.PyTreeRestore(like, as_numpy))
        arrays = reader.restore(place, args=wanted)["default"]
    for array, old in zip(jax.tree.leaves(arrays), jax.tree.leaves(like), strict=True):
        if (array.shape, array.dtype) != (old.shape, old.dtype):
            raise ValueError(f"{array.dtype}{array.shape} where {old.dtype}{old.shape} is needed")
    return arrays


def _fetch_to_zero(array: jax.Array) -> np.ndarray | None:
    """Copies an array of all processes into numpy; process 0 keeps it. Collective."""
    fetched = hosts.fetch(array)
    return fetched if hosts.is_process_zero() else None


def _alone() -> ocp.options.MultiprocessingOptions:
    """Orbax waits for no other process."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})


def _with_key_data(state: AgentState) -> AgentState:
    """The state with its keys as integers, since orbax cannot save JAX's type of keys."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))
