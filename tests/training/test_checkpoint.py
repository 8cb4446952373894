"""States saved and found again, in any folder and beside damaged ones."""

import glob
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.algorithms.base import AgentState, TrainState
from edp_jax.training.checkpoint import Checkpoints, newest_sound, set_damaged_aside


def state(value: float) -> AgentState:
    """Two members whose weights are all `value`."""
    params = {"w": jnp.full((2, 3), value)}
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    return AgentState(jnp.zeros(2, int), keys, {"policy": TrainState(params, params, ())})


def weight(folder) -> float:
    checkpoints = Checkpoints(str(folder), read_only=True)
    restored = checkpoints.restore(state(0.0))
    checkpoints.close()
    return float(np.asarray(restored.networks["policy"].params["w"])[0, 0])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with states after 3 and 6 updates."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(str(folder))
    checkpoints.save(3, state(3.0))
    checkpoints.save(6, state(6.0))
    checkpoints.close()
    return folder


@pytest.mark.parametrize("name", ["seeds=[0,1]", "a*b?", "gs:", "{x} 'y' \"z\"", "p\\q", "\u03b7"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    checkpoints = Checkpoints(str(folder))
    checkpoints.save(3, state(3.0))
    checkpoints.close()
    assert os.listdir(folder) == ["3"] and weight(folder) == 3.0


def test_the_newest_the_best_and_every_nth_state_are_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(str(folder), keep_last=2, keep_every=4)
    for step in range(1, 8):
        checkpoints.save(step, state(step))
        if step in (2, 5):
            checkpoints.keep_best(step)
    checkpoints.close()
    assert sorted(os.listdir(folder)) == ["4", "5", "6", "7"]
    checkpoints = Checkpoints(str(folder), read_only=True)
    restored = checkpoints.restore(state(0.0), 5)
    checkpoints.close()
    assert float(np.asarray(restored.networks["policy"].params["w"])[0, 0]) == 5.0


def empty(path) -> None:
    open(path, "w").close()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("6/default/manifest.ocdbt", empty),
        ("6/default/manifest.ocdbt", os.remove),
        ("6/default/_METADATA", lambda path: os.truncate(path, 20)),
        ("6/default/array_metadatas/process_0", empty),
        ("6/default/d/*", lambda path: os.truncate(path, os.path.getsize(path) // 2)),
        ("6/default/d", shutil.rmtree),
        ("6/default", shutil.rmtree),
    ],
)
def test_the_newest_sound_checkpoint_counts(saved, tmp_path, file, damage):
    folder, told = tmp_path / "checkpoints", []
    shutil.copytree(saved, folder)
    assert newest_sound(str(folder)) == 6 and weight(folder) == 6.0
    for path in glob.glob(str(folder / file)):
        damage(path)
    assert newest_sound(str(folder)) == 3 and weight(folder) == 3.0
    set_damaged_aside(str(folder), told.append)
    assert len(told) == 1 and told[0].startswith("checkpoint 6 is damaged (")
    assert len(told[0]) - len(str(tmp_path)) <= 300
    assert os.listdir(folder) == ["3"] and os.path.isdir(told[0].rpartition("it is now ")[2])
    checkpoints = Checkpoints(str(folder))
    checkpoints.save(6, state(7.0))  # its place is free
    checkpoints.close()
    assert weight(folder) == 7.0


def test_where_no_checkpoint_is_sound_none_is_moved(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    for path in glob.glob(str(folder / "*" / "default" / "_METADATA")):
        os.remove(path)
    with pytest.raises(InputError, match="no checkpoint there can be read"):
        set_damaged_aside(str(folder))
    assert sorted(os.listdir(folder)) == ["3", "6"] and newest_sound(str(folder)) is None


def test_reading_leaves_what_a_run_is_just_saving(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    (folder / "9.orbax-checkpoint-tmp").mkdir()
    assert weight(folder) == 6.0
    assert "9.orbax-checkpoint-tmp" in os.listdir(folder)
