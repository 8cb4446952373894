"""Mutation check: changes one thing at a time and tells which changes no test notices.

    python -m tests.mutation edp_jax/losses.py edp_jax/algorithms/crr.py

With no file, all of losses.py, policy.py and algorithms/ are changed, which takes hours. With
--quick only the tests of the changed file itself are run, as a first sieve. With --every=3 every
third change is made.

The tree itself is not touched: the package and its tests are copied, and the changes are made in
the copy. The changes of a file are tested one after the other in one process, which loads our
modules anew each time; what the libraries have compiled stays. The tests stop at the first failure.
Run by hand; it is not part of the tests.

What is changed: signs, operators, comparisons, constants, min and max, means and sums, the order of
two arguments, the key of a draw, params and target_params, observation and next_observation,
stopped gradients, clips, conditions, keyword arguments, and whole statements.
"""

import ast
import importlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
TESTS = (
    "tests/algorithms",
    "tests/test_losses.py",
    "tests/test_policy.py",
    "tests/test_settings.py",
    "tests/golden",
)
LEFT_OUT = ("test_bandit.py", "test_values.py")  # learning takes minutes
SLOW = ("test_learners.py", "test_randomness.py", "test_golden.py")
LIMIT_S = 900  # of the tests of one change
AT_ONCE = 60  # changes per process, whose memory grows

OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
}
COMPARISONS = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ATTRIBUTES = {
    "params": "target_params",
    "target_params": "params",
    "observation": "next_observation",
    "next_observation": "observation",
    "min": "max",
    "max": "min",
    "minimum": "maximum",
    "maximum": "minimum",
    "mean": "sum",
    "sum": "mean",
    "argmax": "argmin",
    "averaged_actor": "averaged_actor_and_critic",
    "normal": "uniform",
}
DROPPED_CALLS = ("stop_gradient", "clip", "abs", "square", "exp", "maximum", "minimum", "copy")
OPTIONAL = ("axis", "ensemble", "average", "without_average", "weight_decay", "minval", "maxval")
OPTIONAL += ("draws_ahead", "eta", "is_ensemble", "clip", "unroll", "has_aux")


class Change(NamedTuple):
    """A piece of source text and what is put in its place."""

    line: int
    start: int  # in characters from the beginning of the file
    end: int
    new: str
    what: str


def changes_of(source: str) -> list[Change]:
    """All changes of a file, in the order of its lines."""
    tree = ast.parse(source)
    starts = [0]
    for text in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    hidden = {id(node) for node in _not_run(tree)}
    found = []
    for function, node in _nodes(tree, None):
        if id(node) in hidden or not hasattr(node, "lineno"):
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        for new, what in _changes_of_node(node, function):
            found.append(Change(node.lineno, begin, end, new, what))
    return sorted(set(found))


def _nodes(node: ast.AST, function: ast.AST | None) -> Iterator[tuple[ast.AST | None, ast.AST]]:
    yield function, node
    inner = node if isinstance(node, ast.FunctionDef) else function
    for child in ast.iter_child_nodes(node):
        yield from _nodes(child, inner)


def _not_run(tree: ast.AST) -> Iterator[ast.AST]:
    """Annotations, imports, texts and messages: what does not compute anything."""
    for node in ast.walk(tree):
        left_out = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
            left_out.append(node)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "__all__" or _is_type(node.value):
                left_out.append(node)
        for part in left_out:
            if part is not None:
                yield from ast.walk(part)


def _is_type(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) in ("Callable", "dict", "tuple")
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _changes_of_node(node: ast.AST, function: ast.AST | None) -> Iterator[tuple[str, str]]:
    """(new text, what it is) for each change of one node."""
    text = ast.unparse
    if isinstance(node, ast.BinOp):
        if type(node.op) in OPERATORS:
            new = ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
            yield f"({text(new)})", "operator"
        if isinstance(node.op, ast.BitOr):
            yield text(node.left), "right side dropped"
            yield text(node.right), "left side dropped"
    elif isinstance(node, ast.UnaryOp):
        yield text(node.operand), "sign or not dropped"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        new = ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)
        yield f"({text(new)})", "comparison"
        if isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            near = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
            new = ast.Compare(node.left, [near[type(node.ops[0])]()], node.comparators)
            yield f"({text(new)})", "equality of a comparison"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"({text(ast.BoolOp(other, node.values))})", "and, or"
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield str(not node.value), "constant"
        elif isinstance(node.value, int | float):
            yield repr(node.value + 1), "constant"
    elif isinstance(node, ast.IfExp):
        yield f"({text(node.body)})", "condition always true"
        yield f"({text(node.orelse)})", "condition always false"
    elif isinstance(node, ast.If):
        for value in ("True", "False"):
            new = ast.If(ast.Name(value), node.body, node.orelse)
            yield _indented(text(new), node), f"condition always {value}"
    elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        yield f"{text(node.value)}.{ATTRIBUTES[node.attr]}", "attribute"
    elif isinstance(node, ast.Call):
        yield from _changes_of_call(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        for other in _other_keys(node.id, function):
            yield other, "another key"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "pass", "statement dropped"
    elif isinstance(node, ast.Assign) and function is not None:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id in _names(node.value):
            yield "pass", "statement dropped"


def _changes_of_call(node: ast.Call) -> Iterator[tuple[str, str]]:
    name = ast.unparse(node.func).rpartition(".")[2]
    if name == "setting":  # the tests of settings tell what these are
        return
    of_arrays = ast.unparse(node.func).startswith(("jnp.", "losses.", "jax.nn", "value_of"))
    of_arrays = of_arrays or name in ("apply", "sample", "select_by_energy")
    of_arrays = of_arrays and name not in ("minimum", "maximum", "clip")  # would change nothing
    for first in range(len(node.args) - 1 if of_arrays else 0):
        args = list(node.args)
        args[first : first + 2] = reversed(args[first : first + 2])
        yield ast.unparse(ast.Call(node.func, args, node.keywords)), "order of arguments"
    if name in DROPPED_CALLS and node.args:
        yield f"({ast.unparse(node.args[0])})", "call dropped"
    for index, keyword in enumerate(node.keywords):
        if keyword.arg in OPTIONAL:
            rest = [*node.keywords[:index], *node.keywords[index + 1 :]]
            yield ast.unparse(ast.Call(node.func, node.args, rest)), f"no {keyword.arg}"


def _other_keys(name: str, function: ast.AST | None) -> list[str]:
    """Keys that were split off together with this one."""
    if function is None or not name.endswith("_key"):
        return []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            together = [
                element.id for element in node.targets[0].elts if isinstance(element, ast.Name)
            ]
            if name in together:
                return [other for other in together if other != name and other.endswith("_key")]
    return []


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _indented(text: str, node: ast.AST) -> str:
    return text.replace("\n", "\n" + " " * node.col_offset)


def tests_for(path: str, quick: bool) -> list[str]:
    """The test files, those of the changed file first and the slow ones last."""
    files = [
        file
        for name in TESTS
        for file in (sorted((ROOT / name).glob("test_*.py")) if "." not in name else [ROOT / name])
        if file.name not in LEFT_OUT
    ]
    names = [str(file.relative_to(ROOT)) for file in files]
    own = f"/test_{pathlib.Path(path).stem}.py", "/test_settings.py"
    names.sort(key=lambda name: (not name.endswith(own), name.endswith(SLOW), name))
    return [name for name in names if name.endswith(own)] if quick else names


def run_tests(tests: list[str]) -> bool:
    """Whether the tests of the copy, which is the current folder, pass; our modules load anew."""
    import pytest

    for name in [name for name in sys.modules if name.split(".")[0] in ("edp_jax", "tests")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    signal.alarm(LIMIT_S)
    passed = pytest.main(["-x", "-q", *options, *tests]) == 0
    signal.alarm(0)
    return passed


def run_changes(path: str, source: str, changes: list[Change], tests: list[str], out) -> None:
    """Makes the changes of a file one after the other and writes what became of each."""
    text, target = source.encode(), pathlib.Path(path)
    if not run_tests(tests[:1]):
        out.write(f"broken    {path}: its tests fail without any change\n")
        return
    for change in changes:
        old = text[change.start : change.end].decode()
        target.write_bytes(text[: change.start] + change.new.encode() + text[change.end :])
        outcome = "survived" if run_tests(tests) else "noticed"
        what = f"{change.what}: {_short(old)} -> {_short(change.new)}"
        out.write(f"{outcome:9} {path}:{change.line}: {what}\n")
        out.flush()
    target.write_bytes(text)


def main(arguments: list[str]) -> None:
    """Changes the files one place at a time, and prints what was not noticed in the end."""
    every = next((int(word[8:]) for word in arguments if word.startswith("--every=")), 1)
    paths = [word for word in arguments if not word.startswith("--")]
    if not paths:
        files = sorted((ROOT / "edp_jax/algorithms").glob("*.py"))
        paths = ["edp_jax/losses.py", "edp_jax/policy.py"]
        paths += [str(file.relative_to(ROOT)) for file in files]
    with tempfile.TemporaryDirectory(prefix="mutation_") as folder:
        for name in ("edp_jax", "tests", "experiments", "configs"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, os.path.join(folder, name), ignore=ignore)
        _prepare(folder)
        results = pathlib.Path(folder, "results")
        with results.open("w") as out:
            for path in paths:
                source = (ROOT / path).read_text(encoding="utf-8")
                changes = changes_of(source)[::every]
                tests = tests_for(path, "--quick" in arguments)
                for first in range(0, len(changes), AT_ONCE):
                    part = changes[first : first + AT_ONCE]
                    _in_a_process(run_changes, path, source, part, tests, out)
        lines = results.read_text().splitlines()
    survivors = [line for line in lines if not line.startswith("noticed")]
    print("\n".join([f"{len(lines)} changes, {len(survivors)} not noticed:", *survivors]))


def _in_a_process(function, *arguments) -> None:
    """Calls the function in a forked process, whose own output is dropped."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, _too_slow)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            function(*arguments)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _too_slow(*_) -> None:
    raise TimeoutError("the tests of a change take too long")


def _prepare(folder: str) -> None:
    """Loads the libraries, but none of our modules, and makes the copy the one that is found."""
    os.chdir(folder)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(folder, "cache")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    sys.dont_write_bytecode = True
    sys.path[:] = [folder, *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in ("edp_jax", "tests")]:
        del sys.modules[name]
    for name in ("pytest", "jax", "flax.linen", "flax.struct", "optax", "chex", "numpy.random"):
        __import__(name)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


if __name__ == "__main__":
    main(sys.argv[1:])
