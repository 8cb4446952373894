"""What is built can be installed: a wheel and an sdist, used away from the tree."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edp_jax

ROOT = pathlib.Path(__file__).parents[1]
PACKED = ("edp_jax", "experiments", "configs", "tests", "docs")  # folders
OPTIONAL = (  # of the extras
    *("gymnasium", "gymnasium_robotics", "mujoco", "matplotlib", "minari"),
    *("tensorboard", "tensorboardX", "wandb", "torch"),
)
NOT_SOURCE = (".*", "__pycache__", "*.egg-info")
NOT_SOURCE_AT_TOP = ("build", "dist", "runs", "site")


def run(*command, cwd, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def files_below(folder: pathlib.Path) -> set[str]:
    """Relative paths of the source files in a folder."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def not_source(folder: str, names: list[str]) -> set[str]:
    """What is made in a working tree, for shutil.copytree to leave out."""
    at_top = NOT_SOURCE_AT_TOP if pathlib.Path(folder) == ROOT else ()
    return shutil.ignore_patterns(*NOT_SOURCE, *at_top)(folder, names)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> pathlib.Path:
    """Folder with an sdist of the tree and the wheel that was built from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=not_source)
    made = run("-m", "build", "--no-isolation", "--outdir", folder, source, cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture(scope="module")
def site(built, tmp_path_factory) -> pathlib.Path:
    """The unpacked wheel, as pip lays it into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def project(tmp_path) -> pathlib.Path:
    """A user's folder with two packages of its own, whose names are those of our folders."""
    for name in ("experiments", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not ours')")
    return tmp_path


@pytest.fixture
def without_extras(tmp_path) -> pathlib.Path:
    """A folder for PYTHONPATH, with which no optional package can be imported."""
    for name in OPTIONAL:
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text(
            f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')"
        )
    return tmp_path / "absent"


def test_the_sdist_holds_the_whole_source(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    for folder in PACKED:
        assert {f"{folder}/{name}" for name in files_below(built / "source" / folder)} <= packed
    top_level = {path.name for path in (built / "source").iterdir() if path.is_file()}
    assert top_level <= packed


def test_the_wheel_brings_one_name(site):
    (metadata,) = importlib.metadata.distributions(path=[str(site)])
    assert {path.name for path in site.iterdir()} == {
        "edp_jax",
        f"{metadata.name}-{metadata.version}.dist-info",
    }
    assert metadata.version == edp_jax.__version__
    assert metadata.metadata["License-Expression"] == "Apache-2.0"


def test_the_wheel_holds_all_modules_and_data(site):
    expected = {f"edp_jax/{name}" for name in files_below(ROOT / "edp_jax")}
    expected |= {
        f"edp_jax/{folder}/{name}"
        for folder in ("experiments", "configs")
        for name in files_below(ROOT / folder)
    }
    assert {f"edp_jax/{name}" for name in files_below(site / "edp_jax")} == expected
    assert {"edp_jax/py.typed", "edp_jax/data/behaviours/NOTES.md"} <= expected


@pytest.fixture
def train(site, project, without_extras):
    """Trains with the unpacked wheel in the user's folder, without any optional package."""

    def start(config: str, *settings: str) -> subprocess.CompletedProcess:
        program = ("-m", "edp_jax.experiments.main")
        return run(
            *(*program, f"--config={config}", "--workdir=run", *settings),
            cwd=project,
            PYTHONPATH=f"{site}{os.pathsep}{without_extras}",
            D4RL_DATASET_DIR=str(project),
        )

    return start


def test_the_wheel_trains_with_the_base_dependencies_alone(project, train):
    rng = np.random.default_rng(0)
    np.savez(
        project / "own.npz",
        observations=rng.standard_normal((200, 3), np.float32),
        actions=rng.uniform(-1, 1, (200, 2)).astype(np.float32),
        rewards=rng.standard_normal(200, np.float32),
        terminals=np.arange(200) % 50 == 49,
        timeouts=np.zeros(200, bool),
    )
    steps = (f"--config.{key}=20" for key in ("num_steps", "eval_every", "log_every"))
    trained = train("td3_bc:own.npz", *steps, "--config.batch_size=16")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (project / "run" / "policy").is_dir()
    assert "pip install 'edp_jax[plots]'" in trained.stdout + trained.stderr


def test_a_task_that_needs_simulators_names_their_extra(train):
    refused = train("td3_bc:builtin/hopper-random")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    (line,) = (line for line in refused.stderr.splitlines() if line.startswith("error:"))
    assert line.endswith("pip install 'edp_jax[simulators]'")


def test_modules_of_the_wheel_come_from_the_wheel(site, project):
    names = ("edp_jax", "edp_jax.experiments.main", "edp_jax.configs.edp_td3")
    code = (
        f"import {', '.join(names)}, sys\nfor name in {names!r}: print(sys.modules[name].__file__)"
    )
    imported = run("-c", code, cwd=project, PYTHONPATH=str(site))
    assert imported.returncode == 0, imported.stderr
    for file in imported.stdout.splitlines():
        assert pathlib.Path(file).is_relative_to(site / "edp_jax")


def test_constraints_meet_the_stated_bounds():
    """Every library of pyproject.toml is in constraints.txt, in a version that it allows."""
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            pinned[canonicalize_name(requirement.name)] = specifier.version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    optional = {line for name, lines in extras.items() if name != "d4rl" for line in lines}
    for line in {*project["dependencies"], *optional}:
        requirement = Requirement(line)
        if requirement.name == project["name"]:  # one extra brings another
            assert requirement.extras <= extras.keys()
        else:
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{line}: {version} is tested"
