"""Measuring what training and acting cost: each program is compiled once, then all run in turn, round after round, so that what
slows the machine for a while slows all of them alike."""

import dataclasses
import pathlib
import runpy
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edp_jax import TaskSpec, Transition, algorithms
from edp_jax.algorithms import Algorithm, AlgorithmConfig, Hypers
from edp_jax.training import loop, stream

from . import launch, naive
from .flops import update_flops

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
TASK = "walker2d-medium-expert-v2"  # of the paper's speed figure; its settings, not its data
LEARNERS = (  # files of configs/; the last three are feed-forward
    *("edp_td3", "edp_crr", "edp_iql", "edp_cql", "edp_bcq", "diffusion_ql", "bc_diffusion"),
    *("td3_bc", "crr", "iql"),
)
UNITS = {  # what a program's rate is called
    "train": "updates_per_second",
    "stream": "updates_per_second",
    "naive": "updates_per_second",
    "act": "actions_per_second",
    "matmul": "flops_per_second",
}


def _option(default: int | float, meaning: str):
    return dataclasses.field(default=default, metadata={"help": meaning})


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large and how long; every field is a flag of experiments.benchmark."""

    observation_dim: int = _option(17, "O; 17 is walker2d's")
    action_dim: int = _option(6, "A")
    num_transitions: int = _option(1_000_000, "Rows of the random dataset")
    batch_size: int = _option(256, "B")
    max_batch: int = _option(4096, "Part batch doubles B up to so many")
    max_points: int = _option(8, "Part curves takes so many values of each setting, smallest first")
    max_observations: int = _option(
        1000, "Part sampling acts on 1, 10, ... observations at once, up to so many"
    )
    width: int = _option(0, "Width of all hidden layers; 0: as configured")
    max_calls: int = _option(0, "Upper limit of sampler calls and candidates; 0: as configured")
    matmul_size: int = _option(2048, "Rows and columns of the large matrix product")
    num_seeds: int = _option(1, "Seeds that every compiled training program trains at once")
    max_seeds: int = _option(16, "Part seeds tries 1, 2, 4, ... seeds up to so many")
    rounds: int = _option(5, "Times that every program is measured; the median counts")
    seconds: float = _option(2.0, "Length of one measurement")


QUICK = Sizes(
    observation_dim=3,
    action_dim=2,
    num_transitions=1000,
    batch_size=16,
    max_batch=32,
    max_points=1,
    max_observations=10,
    width=16,
    max_calls=2,
    matmul_size=256,
    max_seeds=2,
    rounds=1,
    seconds=0.02,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One program to measure; equal cases are measured once."""

    kind: str  # a key of `UNITS`
    size: int  # batch (train, stream, naive), observations (act), rows and columns (matmul)
    config: str = ""  # a file of configs/
    changes: tuple[tuple[str, object], ...] = ()  # of its AlgorithmConfig
    num_transitions: int | None = None  # of the dataset; None: all


class Program(NamedTuple):
    """A compiled case."""

    run: Callable[[int], float]  # does so many steps and returns the seconds they took
    amount: float  # units per step
    facts: dict  # what is known without running it: compile_seconds, memory, flops_per_update


class Learner(NamedTuple):
    name: str  # key of algorithms.REGISTRY
    algorithm: Algorithm
    config: AlgorithmConfig
    hypers: Hypers


class Dataset(NamedTuple):
    transitions: Transition  # on the host
    replay: loop.Replay


def measure(
    cases: Iterable[Case], sizes: Sizes, progress: Callable[[str], None]
) -> dict[Case, dict]:
    """Rate (median over the rounds; `rounds` holds all), compile time and memory of every case."""
    dataset = make_dataset(sizes)
    programs = {}
    for case in cases:
        if case not in programs:
            programs[case] = _BUILDERS[case.kind](case, sizes, dataset)
            rows = f"{case.num_transitions} transitions" if case.num_transitions else ""
            name = f"{case.kind} {case.size} {case.config} {dict(case.changes) or rows}".rstrip()
            progress(f"compiled in {programs[case].facts['compile_seconds']:.1f} s: {name}")
    rates = rotate(programs, sizes.rounds, sizes.seconds)
    return {
        case: {
            UNITS[case.kind]: float(np.median(rates[case])),
            "rounds": rates[case],
            **program.facts,
        }
        for case, program in programs.items()
    }


def rotate(programs: dict[Case, Program], rounds: int, seconds: float) -> dict[Case, list[float]]:
    """Units per second of every program in each round; in a round every program runs once, for about so many seconds."""
    steps = {case: calibrate(program.run, seconds) for case, program in programs.items()}
    rates = {case: [] for case in programs}
    for _ in range(rounds):
        for case, program in programs.items():
            rates[case].append(steps[case] * program.amount / program.run(steps[case]))
    return rates


def calibrate(run: Callable[[int], float], seconds: float) -> int:
    """How many steps take about so many seconds; at least one. The very first one, which may still allocate, does not count."""
    run(1)
    steps = 1
    while (elapsed := run(steps)) < 0.2 * seconds:
        steps *= 2
    return max(1, round(steps * seconds / elapsed))


def make_dataset(sizes: Sizes) -> Dataset:
    """Random transitions, none of them terminal."""
    rng = np.random.default_rng(0)
    rows = sizes.num_transitions
    observations = rng.standard_normal((2, rows, sizes.observation_dim), np.float32)
    transitions = Transition(
        observation=observations[0],
        action=rng.uniform(-1, 1, (rows, sizes.action_dim)).astype(np.float32),
        reward=rng.standard_normal(rows, np.float32),
        discount=np.ones(rows, np.float32),
        next_observation=observations[1],
    )
    return Dataset(transitions, loop.put_dataset(transitions, sizes.num_seeds))


def make_learner(case: Case, sizes: Sizes) -> Learner:
    """The learner of a case with the settings of `TASK`, as experiments.main would make it."""
    get_config = runpy.run_path(str(CONFIGS / f"{case.config}.py"))["get_config"]
    settings = launch.resolve(get_config(TASK))
    config = dataclasses.replace(settings.algorithm, **dict(case.changes))
    if sizes.width:
        config = dataclasses.replace(config, hidden_dims=(sizes.width,) * len(config.hidden_dims))
    if sizes.max_calls:
        limited = {
            name: min(getattr(config, name), sizes.max_calls)
            for name in ("sampler_calls", "num_candidates")
        }
        config = dataclasses.replace(config, **limited)
    name = settings.config.algorithm
    algorithm = algorithms.make(name, config, TaskSpec(sizes.observation_dim, sizes.action_dim))
    return Learner(name, algorithm, config, settings.hypers)


def _train(case: Case, sizes: Sizes, dataset: Dataset) -> Program:
    """The library's own loop: the chunk that a run compiles, called as a run calls it. All seeds' updates are counted."""
    learner, replay = make_learner(case, sizes), dataset.replay
    if case.num_transitions is not None:
        part = jax.tree.map(lambda column: column[: case.num_transitions], dataset.transitions)
        replay = loop.put_dataset(part, sizes.num_seeds)
    state = loop.init_seeds(learner.algorithm, range(sizes.num_seeds))
    hypers = loop.put_hypers(learner.hypers, sizes.num_seeds)
    train_chunk = loop.make_train_chunk(learner.algorithm, case.size)
    compiled, facts = _compile(train_chunk, state, replay, hypers, np.int32(0), np.int32(1))
    spec = TaskSpec(sizes.observation_dim, sizes.action_dim)
    facts["flops_per_update"] = update_flops(learner.name, learner.config, spec, case.size)
    return Program(_runner(compiled, replay, learner, sizes), sizes.num_seeds, facts)


def _stream(case: Case, sizes: Sizes, dataset: Dataset) -> Program:
    """`_train` with the dataset on the host."""
    learner = make_learner(case, sizes)
    replay = stream.HostReplay(
        dataset.transitions, sizes.num_seeds, case.size, learner.algorithm.draws_ahead
    )
    run = _runner(stream.make_train_chunk(learner.algorithm, case.size), replay, learner, sizes)
    return Program(run, sizes.num_seeds, {"compile_seconds": run(1)})


def _runner(
    train_chunk: Callable, replay: Any, learner: Learner, sizes: Sizes
) -> Callable[[int], float]:
    """run(num_updates) -> seconds, of a training that goes on from call to call."""
    state = loop.init_seeds(learner.algorithm, range(sizes.num_seeds))

    def run(num_updates: int) -> float:
        nonlocal state
        end = int(state.step[0]) + num_updates
        chunk = next(loop.train(train_chunk, state, replay, learner.hypers, iter([end])))
        state = chunk.state
        return chunk.seconds

    return run


def _naive(case: Case, sizes: Sizes, dataset: Dataset) -> Program:
    """The yardstick: `naive`'s update called from a Python loop, its batch drawn by numpy and copied to the device."""
    learner, transitions = make_learner(case, sizes), dataset.transitions
    update = jax.jit(naive.make_update(learner.config))
    state = learner.algorithm.init(jax.random.key(0))
    rng = np.random.default_rng(0)

    def run(num_updates: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(num_updates):
            index = rng.integers(transitions.size, size=case.size)
            batch = jax.tree.map(lambda column: column[index], transitions)  # noqa: B023
            state, _ = update(state, batch, learner.hypers)
        jax.block_until_ready(state)
        return time.perf_counter() - start

    return Program(run, 1, {"compile_seconds": run(1)})


def _act(case: Case, sizes: Sizes, dataset: Dataset) -> Program:
    """Acting as an evaluation does: observations come from the host, actions go back to it, call after call."""
    algorithm = make_learner(case, sizes).algorithm
    params = jax.jit(lambda key: algorithms.policy_params(algorithm.init(key)))(jax.random.key(0))
    observation = np.resize(dataset.transitions.observation, (case.size, sizes.observation_dim))

    def act(params, observation, step):
        return algorithm.act(params, observation, jax.random.fold_in(jax.random.key(1), step))

    compiled, facts = _compile(jax.jit(act), params, observation, np.int32(0))

    def run(num_calls: int) -> float:
        start = time.perf_counter()
        for step in range(num_calls):
            np.asarray(compiled(params, observation, np.int32(step)))
        return time.perf_counter() - start

    return Program(run, case.size, facts)


def _matmul(case: Case, sizes: Sizes, dataset: Dataset) -> Program:
    """Float32 products [n, n] x [n, n], each waiting for the one before."""
    del sizes, dataset
    n = case.size
    reflection = np.eye(n, dtype=np.float32) - np.float32(
        2 / n
    )  # orthogonal: the numbers neither grow nor vanish
    multiply = jax.jit(lambda x, y, times: jax.lax.fori_loop(0, times, lambda _, x: x @ y, x))
    x, y = jnp.ones((n, n)), jnp.asarray(reflection)
    compiled, facts = _compile(multiply, x, y, np.int32(1))

    def run(times: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(compiled(x, y, np.int32(times)))
        return time.perf_counter() - start

    return Program(run, 2 * n**3, facts)


_BUILDERS = {"train": _train, "stream": _stream, "naive": _naive, "act": _act, "matmul": _matmul}


def _compile(function: Callable, *args) -> tuple[jax.stages.Compiled, dict]:
    """Tracing and compiling, what they take, and the memory the program will need in bytes."""
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    sizes = {
        name: getattr(memory, f"{name}_size_in_bytes", None)
        for name in ("argument", "output", "alias", "temp")
    }
    return compiled, {"compile_seconds": seconds, "memory": sizes}
