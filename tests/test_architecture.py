"""Imports point one way, heavy libraries stay in their files, modules are small."""

import ast
import pathlib
import subprocess
import sys
from collections import defaultdict

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("edp_jax", "experiments", "configs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
LIBRARY = [path for path in FILES if path.is_relative_to(ROOT / "edp_jax")]
MAX_LINES = 300

# A part of edp_jax may import the parts that stand before a < to its left, and what those may
# import.
ORDERS = (
    "types < errors settings files programs < devices < ops < diffusion layers losses",
    "layers < networks",
    "diffusion networks losses < acting policy < algorithms",
    "algorithms < confidence < export < runs",
    "types < errors settings files < tasks < legacy minari_package ogbench_package < stepping",
    "stepping < data evaluation",
    "algorithms data evaluation < training < configuration < runs",
    "configuration runs < selection < reports",
    "tasks evaluation configuration runs < reports < __init__",
)
WITHOUT_JAX = (
    *("data", "evaluation", "reports"),
    *("tasks", "legacy", "minari_package", "ogbench_package", "stepping", "files"),
)

SIMULATORS = ("gym", "gymnasium", "gymnasium_robotics", "mujoco", "mujoco_py", "d4rl")
SLOW = (
    *(*SIMULATORS, "tensorflow", "tensorboard", "tensorboardX", "torch"),
    *("matplotlib", "wandb", "minari", "ogbench", "dm_control", "pyarrow"),
    *("onnx", "onnxruntime", "libtpu"),
)
# Only envs.make imports these modules of evaluation: they may load simulators.
BEHIND_MAKE = ("adapters", "adroit", "kitchen", "mazes", "ogbench")
ONE_FILE = {  # the only file of the library that imports a package
    "flax.linen": "edp_jax/layers.py",
    "orbax": "edp_jax/training/checkpoint.py",
    "h5py": "edp_jax/data/hdf5.py",
    "pyarrow": "edp_jax/data/arrow.py",
    "minari": "edp_jax/minari_package.py",
    "ogbench": "edp_jax/ogbench_package.py",
    "matplotlib": "edp_jax/runs/plots.py",
    **dict.fromkeys(("gym", "mujoco_py", "d4rl"), "edp_jax/legacy.py"),
}


def may_import() -> dict[str, set[str]]:
    """What each part of edp_jax may import: what an order places before it, directly or not."""
    below = defaultdict(set)
    for order in ORDERS:
        layers = [layer.split() for layer in order.split("<")]
        for position, layer in enumerate(layers):
            for part in layer:
                for lower in layers[:position]:
                    below[part] |= {*lower, *(name for each in lower for name in below[each])}
    return below


def imported(path: pathlib.Path, *, top_level_only: bool = False) -> set[str]:
    """Dotted names of all that a file imports, inside functions too.

    `from a import b` counts as a.b, and `from . import b` as .b.
    """
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (f"{node.module}." if node.module else "")
            names |= {module + alias.name for alias in node.names}
    return names


def packages(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def relative(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def importers_of(prefix: str) -> set[str]:
    return {
        relative(path)
        for path in LIBRARY
        if any(f"{name}.".startswith(f"{prefix}.") for name in imported(path))
    }


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_imports_of_the_library_point_one_way(path):
    part = path.relative_to(ROOT / "edp_jax").with_suffix("").parts[0]
    names = imported(path)
    assert "" not in packages(names), "a relative import"
    assert not packages(names) & {"experiments", "configs", "tests", "absl", "ml_collections"}
    parts = {name.split(".")[1] for name in names if name.startswith("edp_jax.")}
    assert parts - {part} <= may_import()[part]


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=relative)
def test_programs_import_the_library_and_each_other_relatively(path):
    """The folder has one name in the tree and another in a wheel."""
    names = imported(path)
    assert not packages(names) & {"experiments", "configs", "tests"}
    assert not any(name.startswith("..") for name in names)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.py")), ids=relative)
def test_configs_import_the_library_and_ml_collections(path):
    assert packages(imported(path)) <= {"edp_jax", "ml_collections"}


@pytest.mark.parametrize(
    "path",
    [path for path in LIBRARY if {path.stem, path.parent.name} & set(WITHOUT_JAX)],
    ids=relative,
)
def test_data_and_evaluation_work_with_numpy(path):
    assert not packages(imported(path)) & {"jax", "jaxlib", "flax", "optax", "orbax"}


@pytest.mark.parametrize(("package", "file"), ONE_FILE.items())
def test_heavy_libraries_are_known_to_one_file(package, file):
    assert importers_of(package) <= {file}


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
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


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_modules_are_small(path):
    length = len(path.read_text().splitlines())
    assert length <= MAX_LINES
