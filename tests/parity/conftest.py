"""Recorded numbers of the public EDP implementation, as arrays and as parameters of our networks.

The folder is EDP_PARITY_DIR, by default ../shared/parity beside the repository; without it these
tests are skipped. Sizes are read from the recordings.
"""

import os
import pathlib

import jax
import numpy as np
import pytest

from edp_jax.types import TaskSpec, Transition

FOLDER = pathlib.Path(
    os.environ.get("EDP_PARITY_DIR") or pathlib.Path(__file__).parents[3] / "shared" / "parity"
)


class Recordings:
    def load(self, name: str) -> dict[str, np.ndarray]:
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    @property
    def spec(self) -> TaskSpec:
        batch = self.load("batch")
        return TaskSpec(batch["observations"].shape[1], batch["actions"].shape[1])

    @property
    def hidden_dims(self) -> tuple[int, ...]:
        params, prefix = self.load("params"), "online/policy/base_net"
        layers = sum(
            name.startswith(f"{prefix}/Dense_") and name.endswith("/bias") for name in params
        )
        return tuple(params[f"{prefix}/Dense_{i}/bias"].size for i in range(layers - 1))

    @property
    def batch(self) -> Transition:
        batch = self.load("batch")
        return Transition(
            batch["observations"],
            batch["actions"],
            batch["rewards"],
            1.0 - batch["dones"],
            batch["next_observations"],
        )

    def actor(self, arrays: dict[str, np.ndarray], version: str) -> dict:
        """Parameters of our noise network, from the entries `<version>/policy/...`."""
        prefix = f"{version}/policy/base_net"
        embedding = {
            f"Dense_{i}": _dense(arrays, f"{prefix}/TimeEmbedding_0/Dense_{i}") for i in range(2)
        }
        return {"MLP_0": self._mlp(arrays, prefix), "TimeEmbedding_0": embedding}

    def critics(self, arrays: dict[str, np.ndarray], version: str) -> dict:
        """Parameters of our critic ensemble, from `<version>/qf1/...` and `<version>/qf2/...`."""
        return jax.tree.map(
            lambda *leaves: np.stack(leaves),
            *(self._mlp(arrays, f"{version}/{net}") for net in ("qf1", "qf2")),
        )

    def value(self, arrays: dict[str, np.ndarray], version: str) -> dict:
        return self._mlp(arrays, f"{version}/vf")

    def _mlp(self, arrays, prefix) -> dict:
        return {
            f"Dense_{i}": _dense(arrays, f"{prefix}/Dense_{i}")
            for i in range(len(self.hidden_dims) + 1)
        }


def _dense(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {"kernel": arrays[f"{prefix}/kernel"], "bias": arrays[f"{prefix}/bias"]}


@pytest.fixture
def recordings() -> Recordings:
    if not (FOLDER / "params.npz").is_file():
        pytest.skip(
            f"no recorded numbers in {FOLDER}: set EDP_PARITY_DIR to the folder that holds them"
        )
    return Recordings()
