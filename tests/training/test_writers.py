"""Optional writers: TensorBoard, Weights & Biases."""

import sys
import types

import numpy as np
import pytest

from edp_jax.training import writers
from edp_jax.training.members import grid
from edp_jax.types import InputError


def test_tensorboard_gets_each_seed_in_its_own_folder(tmp_path, monkeypatch):
    calls = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            self.folder = folder
            calls.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            calls.append((self.folder, name, value, step))

        def close(self):
            calls.append((self.folder, "closed"))

    monkeypatch.setitem(
        sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter)
    )
    (writer,) = writers.open_writers(
        ("tensorboard",), str(tmp_path), grid((3, 5)), {}, first_step=40
    )
    writer.write(50, grid((3, 5)), {"critic/loss": np.array([0.5, 1.5])})
    writer.close()
    first, second = (
        str(tmp_path / "tensorboard" / "seed_3"),
        str(tmp_path / "tensorboard" / "seed_5"),
    )
    assert calls == [
        (first, 41),
        (second, 41),
        (first, "critic/loss", 0.5, 50),
        (second, "critic/loss", 1.5, 50),
        (first, "closed"),
        (second, "closed"),
    ]


def test_tensorboard_writes_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    (writer,) = writers.open_writers(("tensorboard",), str(tmp_path), grid((0,)), {}, first_step=0)
    writer.write(1, grid((0,)), {"critic/loss": np.array([0.5])})
    writer.close()
    assert len(list((tmp_path / "tensorboard" / "seed_0").glob("events.out.tfevents.*"))) == 1


def test_wandb_goes_on_in_the_same_run(tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step):
            calls.append((values, step))

        def finish(self):
            calls.append("finished")

    def init(**options):
        calls.append(options)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for _ in range(2):
        (writer,) = writers.open_writers(
            ("wandb",), str(tmp_path), grid((3,)), {"eta": np.float32(0.5)}, first_step=0
        )
        writer.write(50, grid((3,)), {"critic/loss": np.array([0.5])})
        writer.close()
    first, logged, finished = calls[:3]
    assert logged == ({"critic/loss/seed_3": 0.5}, 50) and finished == "finished"
    assert (
        first["config"] == {"eta": 0.5}
        and first["dir"] == str(tmp_path)
        and first["resume"] == "allow"
    )
    assert calls[3]["id"] == first["id"]


@pytest.mark.parametrize(("kind", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_missing_package_names_the_command_that_installs_it(tmp_path, monkeypatch, kind, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        writers.open_writers((kind,), str(tmp_path), grid((0,)), {}, first_step=0)
    assert package in str(error.value) and "pip install -e '.[log]'" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_unknown_writer(tmp_path):
    with pytest.raises(InputError, match="'wand': unknown; use 'tensorboard' or 'wandb'"):
        writers.open_writers(("wand",), str(tmp_path), grid((0,)), {}, first_step=0)
