"""Clones demonstrations, and says joint by joint how far it is from an episode it has not seen.

python examples/held_out_error.py lerobot:FOLDER --horizon=16

Every policy should beat the mean action, and the action of the most similar observation.
"""

import argparse

import jax
import numpy as np

from edp_jax import Trainer, algorithms, data, policy
from edp_jax.data import boxes


def take(raw: data.RawDataset, rows: slice) -> data.RawDataset:
    """Some rows of a dataset, with the range of their actions as the box."""
    steps = (raw.observations, raw.actions, raw.rewards, raw.terminals, raw.timeouts)
    low, high = boxes.range_of(raw.actions[rows])
    return data.RawDataset(*(part[rows] for part in steps), action_low=low, action_high=high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="demonstrations of several episodes, such as lerobot:FOLDER")
    parser.add_argument("--horizon", type=int, default=1, help="actions that are chosen together")
    parser.add_argument("--num_updates", type=int, default=10_000)
    given = parser.parse_args()

    task = data.find_task(given.data)
    raw, info = data.load(task, data.data_folder())
    episodes = np.flatnonzero(raw.terminals | raw.timeouts)  # at least two
    train, unseen = take(raw, slice(episodes[-2] + 1)), take(raw, slice(episodes[-2] + 1, None))
    options = data.Preprocessing(normalize_observations=True, horizon=given.horizon)
    dataset = data.prepare(task, train, info, options)
    settings = algorithms.settings("bc_diffusion", starting_noise=0.3)
    algorithm = algorithms.make("bc_diffusion", settings, dataset.spec)
    trainer = Trainer(algorithm, dataset)
    state, _ = trainer.train(trainer.init(), given.num_updates)
    params = jax.tree.map(lambda leaf: leaf[0], trainer.policy_params(state))

    act = policy.in_dataset_units(algorithm.act, dataset.units, 1)
    known, seen = (dataset.units.normalize(part.observations) for part in (train, unseen))
    nearest = np.argmin(np.square(known).sum(axis=1) - 2 * seen @ known.T, axis=1)
    predicted = {
        "policy": np.reshape(act(params, unseen.observations, jax.random.key(0)), (len(seen), -1)),
        "nearest": train.actions[nearest],
        "mean": train.actions.mean(axis=0),
    }
    print("mean absolute error, in degrees where the data are in radians:", *predicted)
    errors = [np.abs(action - unseen.actions).mean(axis=0) for action in predicted.values()]
    names = [*(info["action_names"] or range(dataset.action_dim)), "all"]
    for name, *row in zip(names, *([*error, error.mean()] for error in errors), strict=True):
        print(f"{name!s:24}", *(f"{np.degrees(error):8.2f}" for error in row))


if __name__ == "__main__":
    main()
