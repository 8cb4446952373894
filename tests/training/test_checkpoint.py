"""States saved and found again, in any folder and beside damaged ones."""

import dataclasses
import glob
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from edp_jax import InputError
from edp_jax.algorithms.base import AgentState, TrainState
from edp_jax.training.checkpoint import (
    Checkpoints,
    find_damage,
    newest_sound,
    read_notes,
    restore,
)
from edp_jax.training.recovery import set_unusable_aside


def state(value: float) -> AgentState:
    """Two members whose weights are all `value`."""
    params = {"w": jnp.full((2, 3), value)}
    keys = jnp.stack([jax.random.key(0), jax.random.key(1)])
    networks = {"policy": TrainState(params, params, ())}
    return AgentState(jnp.zeros(2, int), keys, networks, jnp.full(2, -1))


def plain(state: AgentState) -> AgentState:
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


def weight(folder) -> float:
    restored = restore(str(folder), newest_sound(str(folder)), state(0.0))
    return float(np.asarray(restored.networks["policy"].params["w"])[0, 0])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with states after 3 and 6 updates."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(str(folder), newest_sound(str(folder)))
    checkpoints.save(3, state(3.0))
    checkpoints.save(6, state(6.0), {"rows": 4})
    checkpoints.close()
    return folder


def agrees(step):
    return None


def test_notes_come_back(saved):
    assert read_notes(str(saved), 6) == {"rows": 4} and read_notes(str(saved), 3) == {}
    assert Checkpoints(str(saved), 6).notes == {"rows": 4}


@pytest.mark.parametrize("name", ["seeds=[0,1]", "a*b?", "gs:", "{x} 'y' \"z\"", "p\\q", "\u03b7"])
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    checkpoints = Checkpoints(str(folder), newest_sound(str(folder)))
    checkpoints.save(3, state(3.0))
    checkpoints.close()
    assert os.listdir(folder) == ["3"] and weight(folder) == 3.0
    assert find_damage(str(folder), 3) is None
    (folder / "3" / "sha256.json").unlink()
    assert find_damage(str(folder), 3) is None


def test_the_newest_the_best_and_every_nth_state_are_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(str(folder), None, keep_last=2, keeps=lambda step: step == 4)
    for step in range(1, 8):
        checkpoints.save(step, state(float(step)))
        if step in (2, 5):
            checkpoints.keep_best(step)
    checkpoints.close()
    assert sorted(os.listdir(folder)) == ["4", "5", "6", "7"]
    restored = restore(str(folder), 5, state(0.0))
    assert float(np.asarray(restored.networks["policy"].params["w"])[0, 0]) == 5.0


def empty(path) -> None:
    open(path, "w").close()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("6/default/step/0", empty),
        ("6/default/step/0", os.remove),
        ("6/default/_METADATA", lambda path: os.truncate(path, 20)),
        ("6/default/key/.zarray", empty),
        ("6/default/*params.w/*", lambda path: os.truncate(path, os.path.getsize(path) // 2)),
        ("6/default/networks.policy.params.w", shutil.rmtree),
        ("6/default", shutil.rmtree),
        ("6/_CHECKPOINT_METADATA", empty),
    ],
)
def test_the_newest_sound_checkpoint_counts(saved, tmp_path, file, damage):
    folder, told = tmp_path / "checkpoints", []
    shutil.copytree(saved, folder)
    assert newest_sound(str(folder)) == 6 and weight(folder) == 6.0
    for path in glob.glob(str(folder / file)):
        damage(path)
    assert newest_sound(str(folder)) == 3 and weight(folder) == 3.0
    set_unusable_aside(str(folder), agrees, told.append)
    assert len(told) == 1 and told[0].startswith("checkpoint 6 is damaged (")
    assert len(told[0]) - len(str(tmp_path)) <= 300
    assert os.listdir(folder) == ["3"] and os.path.isdir(told[0].rpartition("it is now ")[2])
    checkpoints = Checkpoints(str(folder), newest_sound(str(folder)))
    checkpoints.save(6, state(7.0))  # its place is free
    checkpoints.close()
    assert weight(folder) == 7.0


def test_every_flipped_bit_is_found_or_harmless(saved, tmp_path):
    """In each file of the newest checkpoint, at three places: never other arrays without a word."""
    folder, rng = tmp_path / "checkpoints", np.random.default_rng(0)
    shutil.copytree(saved, folder)
    found = 0
    for path in sorted(path for path in (folder / "6").rglob("*") if path.is_file()):
        content = path.read_bytes()
        for place in rng.integers(len(content), size=3) if content else ():
            damaged = bytearray(content)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            step = newest_sound(str(folder))
            found += step == 3
            assert step == 3 or weight(folder) == 6.0, (path, place)
        path.write_bytes(content)
    assert found > 10


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A folder with a state after 6 updates as older versions saved it: few files, no digests."""
    folder = tmp_path_factory.mktemp("old") / "checkpoints"
    arrays = dataclasses.asdict(state(6.0))
    arrays["key"] = jax.random.key_data(arrays["key"])
    del arrays["diverged"]
    with ocp.CheckpointManager(folder) as manager:
        manager.save(6, args=ocp.args.StandardSave(arrays))
    return folder


@pytest.mark.parametrize("kind", ["saved", "old"])
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 9), os.remove])
def test_a_checkpoint_without_digests_has_to_be_readable(kind, damage, request, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(request.getfixturevalue(kind), folder)
    (folder / "6" / "sha256.json").unlink(missing_ok=True)
    restored = restore(str(folder), newest_sound(str(folder)), state(0.0))
    jax.tree.map(np.testing.assert_array_equal, *map(plain, (restored, state(6.0))))
    item = folder / "6" / "default"
    for path in [*item.glob("d/*"), *item.glob("*params.w/0.0")]:
        damage(path)
    assert newest_sound(str(folder)) == (3 if kind == "saved" else None)


def test_a_state_of_another_shape_or_type_is_refused(saved):
    for array in (jnp.zeros((2, 4)), jnp.zeros((2, 3), int)):
        networks = {"policy": TrainState({"w": array}, {"w": array}, ())}
        with pytest.raises(InputError, match="cannot be read .*where .* is needed"):
            restore(str(saved), 6, dataclasses.replace(state(0.0), networks=networks))


def test_checkpoints_that_the_tables_disagree_with_are_set_aside(saved, tmp_path):
    folder, told = tmp_path / "checkpoints", []
    shutil.copytree(saved, folder)
    reasons = {6: "metrics.csv has 1 of its 2 rows up to update 6"}
    set_unusable_aside(str(folder), reasons.get, told.append)
    assert os.listdir(folder) == ["3"] and told[0].startswith(
        "checkpoint 6 is not used, since metrics.csv has 1 of its 2 rows up to update 6; it is now"
    )
    set_unusable_aside(str(folder), lambda step: "the table is gone", told.append)
    assert os.listdir(folder) == [] and len(os.listdir(tmp_path / "set_aside")) == 2
    assert told[-1] == "no checkpoint is left that can be used: the run begins anew"


def test_a_folder_that_vanishes_while_old_checkpoints_are_deleted_is_told_in_one_line(
    saved, tmp_path, monkeypatch
):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    checkpoints = Checkpoints(str(folder), newest_sound(str(folder)), keep_last=1)

    def gone(step):
        raise FileNotFoundError(2, "No such file or directory", ".zarray")

    monkeypatch.setattr(checkpoints._manager, "delete", gone)
    with pytest.raises(InputError, match="checkpoints: old checkpoints cannot be deleted .*zarray"):
        checkpoints.keep_best(None)


def test_a_full_disk_is_told_in_one_line(tmp_path, monkeypatch):
    checkpoints = Checkpoints(str(tmp_path / "checkpoints"), None)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(InputError, match="cannot be saved .*No space left.*there is room"):
        checkpoints.save(3, state(3.0))
    assert checkpoints.latest_step is None


def test_where_no_checkpoint_is_sound_none_is_moved(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    for path in glob.glob(str(folder / "*" / "default" / "_METADATA")):
        os.remove(path)
    with pytest.raises(InputError, match="no checkpoint there can be read"):
        set_unusable_aside(str(folder), agrees)
    assert sorted(os.listdir(folder)) == ["3", "6"] and newest_sound(str(folder)) is None


def test_reading_leaves_what_a_run_is_just_saving(saved, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(saved, folder)
    (folder / "9.orbax-checkpoint-tmp").mkdir()
    assert weight(folder) == 6.0
    assert "9.orbax-checkpoint-tmp" in os.listdir(folder)
