"""Trains EDP-TD3 with two seeds as a library, then lets the first one act in the simulator.

python examples/train_and_deploy.py
"""

import argparse

import gymnasium
import jax

import edp_jax


def train(task: str, num_updates: int):
    """Returns the dataset, the learner, and the trained policies' parameters, one per seed."""
    dataset = edp_jax.load_dataset(task, normalize_observations=True)
    settings = edp_jax.algorithms.settings("edp_td3", eta=0.1, learning_rate=1e-3, tau=0.02)
    algorithm = edp_jax.algorithms.make("edp_td3", settings, dataset.spec)
    trainer = edp_jax.Trainer(algorithm, dataset, seeds=(0, 1))
    state = trainer.init()
    for _ in range(5):
        state, metrics = trainer.train(state, max(1, num_updates // 5))
        print("mean Q per seed:", metrics["critic/q_mean"])
    return dataset, algorithm, trainer.policy_params(state)


def run_episode(env: gymnasium.Env, dataset, algorithm, params) -> float:
    """One episode. The learner works in its own units, the environment in those of the data."""
    act = jax.jit(algorithm.act)
    observation, _ = env.reset(seed=0)
    total, done, key = 0.0, False, jax.random.key(0)
    while not done:
        key, action_key = jax.random.split(key)
        action = act(params, dataset.units.normalize(observation), action_key)
        observation, reward, terminated, truncated, _ = env.step(dataset.units.unscale(action))
        total, done = total + float(reward), terminated or truncated
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="builtin/hopper-medium-expert")
    parser.add_argument("--num_updates", type=int, default=15_000)
    given = parser.parse_args()
    dataset, algorithm, params = train(given.task, given.num_updates)
    first = jax.tree.map(lambda leaf: leaf[0], params)
    print("return:", run_episode(gymnasium.make("Hopper-v4"), dataset, algorithm, first))


if __name__ == "__main__":
    main()
