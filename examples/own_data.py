"""Records data of its own, trains on the file, and acts: a point that is pushed towards zero.

python examples/own_data.py
"""

import argparse
import tempfile

import jax
import numpy as np

import edp_jax


def step(position: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The task: positions [B, 1], pushes [B, 1] in [-2, 2] -> new positions, rewards [B]."""
    following = position + 0.5 * action
    return following, -np.abs(following[:, 0])


def record(path: str, num_steps: int = 5_000) -> None:
    """Random pushes at random positions. Every step is an episode of its own."""
    rng = np.random.default_rng(0)
    position, action = (rng.uniform(-limit, limit, (num_steps, 1)) for limit in (1, 2))
    following, reward = step(position, action)
    steps = {"observations": position, "actions": action, "rewards": reward}
    steps |= {"next_observations": following, "terminals": np.ones(num_steps, bool)}
    np.savez(path, **steps, action_low=[-2.0], action_high=[2.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_updates", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record(f"{folder}/point.npz")
        dataset = edp_jax.load_dataset(f"{folder}/point.npz")
    # The data hold every push at every position, so the critic may lead far from them: a large eta.
    settings = edp_jax.algorithms.settings(
        "edp_td3", hidden_dims=(64, 64), learning_rate=1e-3, eta=20.0
    )
    algorithm = edp_jax.algorithms.make("edp_td3", settings, dataset.spec)
    trainer = edp_jax.Trainer(algorithm, dataset)
    state, _ = trainer.train(trainer.init(), given.num_updates)

    params = jax.tree.map(lambda leaf: leaf[0], trainer.policy_params(state))
    position = np.linspace(-1, 1, 5)[:, None]
    action = algorithm.act(params, dataset.units.normalize(position), jax.random.key(0))
    _, reward = step(position, dataset.units.unscale(np.asarray(action)))
    print("distance left, from", position[:, 0], "on:", -reward)


if __name__ == "__main__":
    main()
