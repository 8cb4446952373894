"""Saving and restoring the state of a run; the only file that knows orbax."""

import dataclasses
import os
from typing import Any

import jax
import orbax.checkpoint as ocp

from edp_jax.algorithms.base import AgentState


class Checkpoints:
    """The newest states of a run, in a folder of their own.

    A state that is being saved is not visible before it is complete. Where several processes share
    a run, all of them call `save` and `restore`.
    """

    def __init__(self, folder: str, keep: int = 2):
        """Opens the folder, and makes it where there is none.

        Args:
          folder: DIR/checkpoints of a run.
          keep: number of states that are kept; older ones are deleted.
        """
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(os.path.abspath(folder), options=options)

    @property
    def latest_step(self) -> int | None:
        """Number of updates after which the newest state was saved; None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: AgentState) -> None:
        """Saves the states of all members [R] after `step` updates, unless they are saved."""
        if step != self.latest_step:
            content = ocp.args.StandardSave(_with_key_data(state))
            self._manager.save(step, args=content, force=True)

    def restore(self, like: AgentState) -> AgentState:
        """Returns the newest states [R], with the structure and on the devices of `like`."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _with_key_data(like))
        content = ocp.args.StandardRestore(target)
        state: Any = self._manager.restore(self.latest_step, args=content)
        return dataclasses.replace(state, key=jax.random.wrap_key_data(state.key))

    def close(self) -> None:
        """Frees what the folder's manager holds."""
        self._manager.close()


def _with_key_data(state: AgentState) -> AgentState:
    """The state with its keys as integers, since orbax cannot save JAX's type of keys."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))
