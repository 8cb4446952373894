"""Installs edp_jax; requirements.txt holds the tested version ranges."""

import pathlib

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
REQUIREMENTS = [
    line
    for line in (HERE / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
]

setup(
    name="edp_jax",
    version="0.1.0",
    description="Efficient Diffusion Policies for offline reinforcement learning, in JAX",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["edp_jax", "edp_jax.*", "experiments", "configs"]),
    package_data={"edp_jax.data": ["behaviours/*.npz", "behaviours/*.md"]},
    python_requires=">=3.11",
    install_requires=REQUIREMENTS,
    extras_require={
        "test": [
            *("pytest>=9,<10", "pytest-xdist>=3.8,<4", "ruff>=0.17,<0.18"),
            *("tensorboardX>=2.6.5,<3", "minari[hdf5,arrow]>=0.5.3,<0.6"),
        ],
        "minari": ["minari[hdf5,arrow,hf]>=0.5.3,<0.6"],
        "log": ["tensorboardX>=2.6.5,<3", "wandb>=0.31,<0.32"],
        "collect": [
            "sbx-rl>=0.28,<0.29"
        ],  # brings PyTorch and tfp-nightly; only experiments.train_behaviour needs it
        "d4rl": [
            "d4rl==1.1",
            "gym>=0.23,<0.25",
            "mujoco-py>=2.1.2,<2.2",
        ],  # abandoned: Python packages of 2022
    },
)
