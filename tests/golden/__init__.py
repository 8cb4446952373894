"""One whole update of every learner, recorded with this code, so that a later change is noticed.

Nothing is drawn: parameters, batch and random numbers are waves, the same on every machine. Of each
array of the state after the update the recording holds two weighted sums, which see every entry,
and of each metric its value. To add a learner, or after a change that is meant, run

    python -m tests.golden fql

(without a name: for all learners) and say in the commit which changed and why. The tests do not
run that.
"""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import algorithms
from edp_jax.types import Transition

from ..algorithms.builders import SPEC, tiny_settings

FILE = pathlib.Path(__file__).with_name("updates.npz")
BATCH_SIZE = 4
# a clip that is active, weights that decay
SETTINGS = dict(tau=0.1, learning_rate=0.01, weight_decay=0.1, grad_clip=0.5)


def waves(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Numbers in [-0.9, 0.9] without a pattern that matters, another array for each `number`."""
    angles = 12.9898 * np.arange(1, np.prod(shape, dtype=int) + 1) + 78.233 * number
    return (0.9 * np.sin(angles)).astype(np.float32).reshape(shape)


def fill(tree, first: int):
    """Arrays of those shapes: waves, counting indices, and keys as they are."""
    leaves, structure = jax.tree.flatten(tree)
    filled = [_filled(leaf, first + number) for number, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, filled)


def _filled(leaf, number: int):
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.asarray(waves(leaf.shape, number))
    return jnp.arange(1, 1 + max(1, leaf.size), dtype=leaf.dtype).reshape(leaf.shape)


def update(name: str) -> dict[str, np.ndarray]:
    """What a learner's second update gives, by names."""
    own = tiny_settings(name, **SETTINGS)
    learner = algorithms.make(name, own, SPEC)
    size, o, a = BATCH_SIZE, SPEC.observation_dim, SPEC.action_dim
    batch = Transition(
        observation=waves((size, o), 1),
        action=waves((size, a), 2),
        reward=waves((size,), 3),
        discount=np.array([1.0, 0.0, 1.0, 1.0], np.float32),
        next_observation=waves((size, o), 4),
    )
    state = jax.jit(learner.init)(jax.random.key(0))
    networks = {
        key: network.replace(
            params=fill(network.params, 10 * index),
            target_params=fill(network.target_params, 10 * index + 500),
        )
        for index, (key, network) in enumerate(state.networks.items())
    }
    state = state.replace(step=jnp.asarray(1), networks=networks)
    draws = jax.eval_shape(learner.draw, state.key, learner.draw_params(state), batch)
    new, metrics = jax.jit(learner.update)(state, batch, own, fill(draws, 1000))
    found = {f"metrics/{key}": np.asarray(value) for key, value in metrics.items()}
    for path, leaf in jax.tree_util.tree_leaves_with_path(new.networks):
        found[jax.tree_util.keystr(path, simple=True, separator="/")] = sums(np.asarray(leaf))
    return found


def sums(array: np.ndarray) -> np.ndarray:
    """Two sums of its entries, each with weights of both signs that differ from entry to entry."""
    entries = array.astype(np.float64).ravel()
    weights = [waves(entries.shape, number).astype(np.float64) for number in (2000, 2001)]
    return np.array([entries @ weight for weight in weights])


def read() -> dict[str, dict[str, np.ndarray]]:
    """The recording: learner -> name -> numbers."""
    with np.load(FILE, allow_pickle=False) as file:
        return {
            name: dict(zip(file[f"{name}/names"].tolist(), file[f"{name}/numbers"], strict=True))
            for name in file["learners"].tolist()
        }


def write(names: Sequence[str]) -> None:
    """Records those learners anew; the others stay as they are."""
    recorded = read() if FILE.exists() else {}
    for name in names:
        recorded[name] = {key: np.resize(value, 2) for key, value in update(name).items()}
    arrays = {"learners": np.array(list(recorded))}
    for name, found in recorded.items():
        arrays[f"{name}/names"] = np.array(list(found))
        arrays[f"{name}/numbers"] = np.array(list(found.values()), np.float32)
    np.savez_compressed(FILE, **arrays)
