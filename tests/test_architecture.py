"""Imports point one way, heavy libraries stay in their files, and importing the package is light."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("edp_jax", "experiments", "configs")
    for path in (ROOT / folder).rglob("*.py")
)
SIMULATORS = ("gym", "gymnasium", "gymnasium_robotics", "mujoco", "mujoco_py", "d4rl")
LEGACY = ("gym", "mujoco_py", "d4rl")
BEHIND_MAKE = (
    "adapters",
    "adroit",
    "kitchen",
    "mazes",
)  # of evaluation; only envs.make imports them: they may load simulators
SLOW = (*SIMULATORS, "tensorflow", "torch", "matplotlib", "wandb", "tensorboardX", "minari")

# what each part may import of ours besides itself: types <- {diffusion, networks, losses} <- policy <- algorithms <- training;
# data and evaluation stand beside this chain and know the types and the legacy stack only
# (a run evaluates, so training calls evaluation)
MAY_IMPORT = {"types": set(), "files": set(), "tasks": set(), "stepping": set()}
MAY_IMPORT |= {"settings": {"types"}, "errors": {"types"}, "legacy": {"types", "errors"}}
MAY_IMPORT["evaluation"] = {"types", "errors", "legacy", "tasks", "stepping"}
MAY_IMPORT["data"] = MAY_IMPORT["evaluation"] | {"files", "settings"}
MAY_IMPORT |= dict.fromkeys(("diffusion", "networks", "losses"), {"types"})
MAY_IMPORT["policy"] = {"types", "diffusion", "networks", "losses"}
MAY_IMPORT["algorithms"] = MAY_IMPORT["policy"] | {"policy"}
MAY_IMPORT["training"] = MAY_IMPORT["algorithms"] | {"algorithms", "evaluation", "files"}
MAY_IMPORT["export"] = MAY_IMPORT["algorithms"] | {"algorithms", "files"}
MAY_IMPORT["__init__"] = {"types", "export"}


def imported(path: pathlib.Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of everything a file imports, inside functions too; `from a import b` counts as a.b."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.parent.name == "experiments", f"{path}: relative import"
            parts = ["experiments"] * node.level + ([node.module] if node.module else [])
            names |= {".".join([*parts, alias.name]) for alias in node.names}
    return names


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def relative(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def importers_of(prefix: str) -> set[str]:
    return {
        relative(path)
        for path in FILES
        if any(f"{name}.".startswith(f"{prefix}.") for name in imported(path))
    }


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_one_way(path):
    folder, part = path.relative_to(ROOT).with_suffix("").parts[:2]
    ours = {
        name
        for name in imported(path)
        if name.split(".")[0] in ("edp_jax", "experiments", "configs", "tests")
    }
    if folder == "edp_jax":
        assert packages(ours) <= {"edp_jax"}
        parts = {name.split(".")[1] for name in ours}
        assert parts - {part} <= MAY_IMPORT[part], (
            f"{relative(path)} may not import {sorted(parts - {part} - MAY_IMPORT[part])}"
        )
    else:
        assert (
            packages(ours)
            <= {"experiments": {"edp_jax", "experiments", "configs"}, "configs": {"configs"}}[
                folder
            ]
        )


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name in ("data", "evaluation")], ids=relative
)
def test_data_and_evaluation_work_with_numpy(path):
    assert not packages(imported(path)) & {"jax", "jaxlib", "flax", "optax", "orbax"}


def test_heavy_libraries_are_known_to_one_file():
    assert importers_of("flax.linen") == {"edp_jax/networks.py"}
    assert importers_of("orbax") == {"edp_jax/training/checkpoint.py"}
    assert importers_of("h5py") == {"edp_jax/data/hdf5.py"}
    assert all(
        name.startswith(("experiments/", "configs/")) for name in importers_of("ml_collections")
    )


def test_the_legacy_stack_is_known_to_one_file():
    assert set().union(*map(importers_of, LEGACY)) <= {"edp_jax/legacy.py"}


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parts[len(ROOT.parts)] == "edp_jax"], ids=relative
)
def test_slow_libraries_are_imported_where_they_are_used(path):
    names = imported(path, top_level_only=True)
    if path.parent.name == "evaluation" and path.stem in BEHIND_MAKE:
        assert not packages(names) & (set(SLOW) - {"gymnasium", "gymnasium_robotics", "mujoco"})
    else:
        assert not packages(names) & set(SLOW)
        assert not names & {f"edp_jax.evaluation.{module}" for module in BEHIND_MAKE}


def test_importing_the_package_loads_no_simulator():
    modules = "edp_jax, edp_jax.algorithms, edp_jax.data, edp_jax.evaluation"
    code = f"import sys, {modules}; print(*sorted(set({SLOW!r}) & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == []
