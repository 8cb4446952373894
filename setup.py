"""The packages of an installation; pyproject.toml says everything else."""

from setuptools import find_packages, setup
from setuptools.command.editable_wheel import editable_wheel

PROGRAMS = find_packages(include=["experiments*", "configs*"])


class Editable(editable_wheel):
    """`pip install -e .` offers the programs under the names of their folders, too."""

    def run(self) -> None:
        self.distribution.packages += PROGRAMS
        super().run()


setup(
    packages=[*find_packages(include=["edp_jax*"]), *(f"edp_jax.{name}" for name in PROGRAMS)],
    package_dir={f"edp_jax.{name}": name.replace(".", "/") for name in PROGRAMS},
    cmdclass={"editable_wheel": Editable},
)
