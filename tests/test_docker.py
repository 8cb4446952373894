"""The Dockerfile: its instructions, the paths that it copies, and what it runs."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from experiments import launch

ROOT = pathlib.Path(__file__).parents[1]
INSTRUCTIONS = {"FROM", "RUN", "USER", "WORKDIR", "COPY", "ENTRYPOINT", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """(name, arguments) of each instruction, with continued lines joined."""
    text = (ROOT / "Dockerfile").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]


def argument(name: str) -> str:
    (found,) = (arguments for each, arguments in instructions() if each == name)
    return found


def test_its_instructions_are_known_and_begin_with_an_image_of_a_supported_python():
    found = instructions()
    assert {name for name, _ in found} <= INSTRUCTIONS  # no EXPOSE: it serves nothing
    assert found[0] == ("FROM", "python:3.11-slim")


def test_it_runs_as_a_user_without_privileges_that_it_made():
    names = [name for name, _ in instructions()]
    user = argument("USER")
    commands = " ".join(arguments for name, arguments in instructions() if name == "RUN")
    assert user != "root" and f"useradd --create-home --uid 1000 {user} " in commands
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")


def test_it_trains_what_the_first_command_of_the_readme_trains():
    readme = (ROOT / "README.md").read_text()
    command = r"-m experiments\.main --config=configs/(\w+)\.py (--workdir=\S+)$"
    first = re.search(command, readme, re.MULTILINE)
    assert json.loads(argument("ENTRYPOINT"))[-1] == "edp_jax.experiments.main"
    assert json.loads(argument("CMD")) == [f"--config={first[1]}", first[2]]
    assert first[1] in launch.config_names()


def test_what_it_installs_is_there_and_is_not_ignored():
    install = next(arguments for _, arguments in instructions() if "pip install" in arguments)
    wanted = {"constraints.txt", "pyproject.toml", "setup.py", "README.md"}
    wanted |= {"edp_jax", "experiments", "configs"}
    assert "constraints.txt" in install
    ignored = {line.strip("/*") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert not wanted & ignored and all((ROOT / name).exists() for name in wanted)


def test_docker_finds_no_fault_in_it():
    if shutil.which("docker") is None:
        pytest.skip("the program docker is not installed")
    if subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode:
        pytest.skip("no docker daemon runs")
    command = ["docker", "build", "--check", str(ROOT)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unknown flag" in checked.stderr or "failed to resolve source metadata" in checked.stderr:
        pytest.skip("this docker cannot check, or not without a registry")
    assert checked.returncode == 0, checked.stdout + checked.stderr
