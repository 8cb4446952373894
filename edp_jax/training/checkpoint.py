"""Saving and restoring the state of a run; the only file that knows orbax."""

import os

import jax
import orbax.checkpoint as ocp

from edp_jax.algorithms.base import AgentState


class Checkpoints:
    """The newest states of a run in DIR/checkpoints; a save is visible when complete, or not at all."""

    def __init__(self, folder: str, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(os.path.abspath(folder), options=options)

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, state: AgentState) -> None:
        """Saves `state` as the one after update `step`; a step already saved is left as it is."""
        if step != self.latest_step:
            self._manager.save(
                step, args=ocp.args.StandardSave(_without_key_type(state)), force=True
            )

    def restore(self, like: AgentState) -> AgentState:
        """The newest state, with the structure and the device layout of `like`."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _without_key_type(like))
        state = self._manager.restore(self.latest_step, args=ocp.args.StandardRestore(target))
        return state.replace(key=jax.random.wrap_key_data(state.key))

    def close(self) -> None:
        self._manager.close()


def _without_key_type(state: AgentState) -> AgentState:
    return state.replace(key=jax.random.key_data(state.key))
