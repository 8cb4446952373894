"""Measures what training and acting cost.

Every program is compiled once. Then all run in turn, round after round, so that what slows the
machine for a while slows all of them alike.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import InputError, Trainer, Transition, algorithms, configuration
from edp_jax.algorithms import Algorithm
from edp_jax.errors import one_line
from edp_jax.training.batches import Rows
from edp_jax.types import pack, unpack

from . import naive
from .cases import Case, Sizes
from .flops import update_flops

TASK = "walker2d-medium-expert-v2"  # of the paper's speed figure; its settings, not its data
UNITS = {  # what a program's rate is called
    "train": "updates_per_second",
    "stream": "updates_per_second",
    "naive": "updates_per_second",
    "act": "actions_per_second",
    "matmul": "flops_per_second",
}


class Program(NamedTuple):
    """A compiled case."""

    run: Callable[[int], float]  # does so many steps and returns the seconds they took
    amount: float  # units per step
    facts: dict[str, Any]  # known without running: compile_seconds, memory, flops_per_update


def measure(
    cases: Iterable[Case], sizes: Sizes, progress: Callable[[str], None]
) -> dict[Case, dict[str, Any]]:
    """Measures every case.

    Args:
      cases: what to measure.
      sizes: how large and how long.
      progress: called with a line for each compiled program.

    Returns:
      Per case its rate (the median over the rounds; `rounds` holds all), compile time and memory.
    """
    rows = make_rows(sizes)
    programs = {}
    for case in cases:
        if case not in programs:
            programs[case] = _build(case, sizes, rows)
            progress(f"compiled in {programs[case].facts['compile_seconds']:.1f} s: {case}")
    rates = rotate(programs, sizes.rounds, sizes.seconds)
    return {
        case: {
            UNITS[case.kind]: float(np.median(rates[case])),
            "rounds": rates[case],
            **program.facts,
        }
        for case, program in programs.items()
    }


def _build(case: Case, sizes: Sizes, rows: np.ndarray) -> Program:
    """Compiles a case; it is built and run with the precision of matrix products that it asks."""
    if case.precision is None:
        return _BUILDERS[case.kind](case, sizes, rows)
    with jax.default_matmul_precision(case.precision):
        program = _BUILDERS[case.kind](case, sizes, rows)

    def run(steps: int) -> float:
        with jax.default_matmul_precision(case.precision):
            return program.run(steps)

    return program._replace(run=run)


def rotate(programs: dict[Case, Program], rounds: int, seconds: float) -> dict[Case, list[float]]:
    """Runs the programs in turn.

    Args:
      programs: in each round every program runs once.
      rounds: how many there are.
      seconds: about how long a program runs in a round.

    Returns:
      Units per second of every program in each round.
    """
    steps = {case: calibrate(program.run, seconds) for case, program in programs.items()}
    rates = {case: [] for case in programs}
    for _ in range(rounds):
        for case, program in programs.items():
            rates[case].append(steps[case] * program.amount / program.run(steps[case]))
    return rates


def calibrate(run: Callable[[int], float], seconds: float) -> int:
    """Finds how many steps take about so many seconds; at least one.

    The very first step, which may still allocate memory, does not count.
    """
    run(1)
    steps = 1
    while (elapsed := run(steps)) < 0.2 * seconds:
        steps *= 2
    return max(1, round(steps * seconds / elapsed))


def make_rows(sizes: Sizes) -> np.ndarray:
    """Makes packed random transitions [N, D], none of them terminal."""
    rng = np.random.default_rng(0)
    rows = sizes.num_transitions
    try:
        observations = rng.standard_normal((2, rows, sizes.observation_dim), np.float32)
        return pack(
            Transition(
                observation=observations[0],
                action=rng.uniform(-1, 1, (rows, sizes.action_dim)).astype(np.float32),
                reward=rng.standard_normal(rows, np.float32),
                discount=np.ones(rows, np.float32),
                next_observation=observations[1],
            )
        )
    except (MemoryError, ValueError) as error:  # numpy raises the latter beyond all memories
        raise InputError(
            f"--num_transitions={rows}: so many do not fit into memory ({one_line(error)}); take "
            "fewer"
        ) from error


def make_algorithm(case: Case, sizes: Sizes) -> Algorithm:
    """Makes the learner of a case with the settings of `TASK`, as a run would make it."""
    config = configuration.make_config(case.learner, TASK, **dict(case.changes))
    widths = config["hidden_dims"][: sizes.depth or None]
    config["hidden_dims"] = tuple(min(width, sizes.width or width) for width in widths)
    for name in ("sampler_calls", "num_candidates"):
        if sizes.max_calls and name in config:
            config[name] = min(config[name], sizes.max_calls)
    settings = configuration.resolve(config)
    return algorithms.make(settings.algorithm, settings.learner, sizes.spec)


def _make_trainer(case: Case, sizes: Sizes, rows: np.ndarray, data_placement: str) -> Trainer:
    return Trainer(
        make_algorithm(case, sizes),
        Rows(rows[: case.num_transitions], sizes.spec),
        seeds=range(_num_seeds(case, sizes)),
        batch_size=case.size,
        data_placement=data_placement,
    )


def _num_seeds(case: Case, sizes: Sizes) -> int:
    return case.num_seeds or sizes.num_seeds


def _train(case: Case, sizes: Sizes, rows: np.ndarray) -> Program:
    """Training as a run does it, with its dataset on the device; all seeds' updates count."""
    trainer = _make_trainer(case, sizes, rows, "device")
    _, facts = _compile(lambda: trainer.lower(trainer.init()))  # `train` finds it compiled
    settings = trainer.algorithm.settings
    facts["flops_per_update"] = update_flops(case.learner, settings, sizes.spec, case.size)
    return Program(_runner(trainer), _num_seeds(case, sizes), facts)


def _stream(case: Case, sizes: Sizes, rows: np.ndarray) -> Program:
    """`_train` with the dataset on the host."""
    run = _runner(_make_trainer(case, sizes, rows, "host"))
    return Program(run, _num_seeds(case, sizes), {"compile_seconds": run(1)})


def _runner(trainer: Trainer) -> Callable[[int], float]:
    """Makes run(num_updates) -> seconds, of a training that goes on from call to call."""
    state = trainer.init()

    def run(num_updates: int) -> float:
        nonlocal state
        start = time.perf_counter()
        state, _ = trainer.train(state, num_updates)  # waits for the metrics
        return time.perf_counter() - start

    return run


def _naive(case: Case, sizes: Sizes, rows: np.ndarray) -> Program:
    """The yardstick: `naive`'s update in a Python loop.

    Its batches are drawn by numpy from arrays of their own, and copied to the device.
    """
    algorithm = make_algorithm(case, sizes)
    transitions = jax.tree.map(np.ascontiguousarray, unpack(rows, sizes.spec))
    update = jax.jit(naive.make_update(algorithm.settings))
    state = algorithm.init(jax.random.key(0))
    rng = np.random.default_rng(0)

    def run(num_updates: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(num_updates):
            index = rng.integers(transitions.size, size=case.size)
            batch = jax.tree.map(lambda column: column[index], transitions)  # noqa: B023
            state, _ = update(state, batch, algorithm.settings)
        jax.block_until_ready(state)
        return time.perf_counter() - start

    return Program(run, 1, {"compile_seconds": run(1)})


def _act(case: Case, sizes: Sizes, rows: np.ndarray) -> Program:
    """Acting as an evaluation does: observations come from the host, actions go back to it."""
    algorithm = make_algorithm(case, sizes)
    params = jax.jit(lambda key: algorithm.policy_params(algorithm.init(key)))(jax.random.key(0))
    observations = np.ascontiguousarray(unpack(rows, sizes.spec).observation)
    observation = np.resize(observations, (case.size, sizes.observation_dim))

    def act(params: Any, observation: jax.Array, step: jax.Array) -> jax.Array:
        return algorithm.act(params, observation, jax.random.fold_in(jax.random.key(1), step))

    compiled, facts = _compile(lambda: jax.jit(act).lower(params, observation, np.int32(0)))

    def run(num_calls: int) -> float:
        start = time.perf_counter()
        for step in range(num_calls):
            np.asarray(compiled(params, observation, np.int32(step)))
        return time.perf_counter() - start

    return Program(run, case.size, facts)


def _matmul(case: Case, sizes: Sizes, rows: np.ndarray) -> Program:
    """Float32 products [n, n] x [n, n], each waiting for the one before."""
    del sizes, rows
    n = case.size
    # a reflection is orthogonal: the numbers neither grow nor vanish
    reflection = np.eye(n, dtype=np.float32) - np.float32(2 / n)
    multiply = jax.jit(lambda x, y, times: jax.lax.fori_loop(0, times, lambda _, x: x @ y, x))
    x, y = jnp.ones((n, n)), jnp.asarray(reflection)
    compiled, facts = _compile(lambda: multiply.lower(x, y, np.int32(1)))

    def run(times: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(x, y, np.int32(times)))
        return time.perf_counter() - start

    return Program(run, 2 * n**3, facts)


_BUILDERS = {"train": _train, "stream": _stream, "naive": _naive, "act": _act, "matmul": _matmul}


def _compile(
    lower: Callable[[], jax.stages.Lowered],
) -> tuple[jax.stages.Compiled, dict[str, Any]]:
    """Traces and compiles; says how long that takes, and the memory of the program in bytes."""
    start = time.perf_counter()
    compiled = lower().compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    sizes = {
        name: getattr(memory, f"{name}_size_in_bytes", None)
        for name in ("argument", "output", "alias", "temp")
    }
    return compiled, {"compile_seconds": seconds, "memory": sizes}
