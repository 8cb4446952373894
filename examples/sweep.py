"""Six agents in one compiled program: three weights of the guidance, two seeds each.

python examples/sweep.py
"""

import argparse

import edp_jax

ETAS = (0.01, 0.1, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="builtin/hopper-medium-expert")
    parser.add_argument("--num_updates", type=int, default=5_000)
    given = parser.parse_args()
    dataset = edp_jax.load_dataset(given.task, normalize_observations=True)
    settings = edp_jax.algorithms.settings("edp_td3", learning_rate=1e-3, tau=0.02)
    algorithm = edp_jax.algorithms.make("edp_td3", settings, dataset.spec)
    trainer = edp_jax.Trainer(algorithm, dataset, seeds=(0, 1), sweep={"eta": ETAS})
    _, metrics = trainer.train(trainer.init(), given.num_updates)

    columns = ("actor/denoising_loss", "critic/loss", "critic/q_mean")
    print("{:20}".format("agent"), *columns)
    for index, member in enumerate(trainer.members):
        values = (f"{metrics[name][index]:>{len(name)}.3f}" for name in columns)
        print(f"{member!s:20}", *values)


if __name__ == "__main__":
    main()
