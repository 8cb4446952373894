"""Programs compiled for TPUs that are not there, and what is known of them then.

JAX compiles for a topology that libtpu knows, on any machine. Nothing runs, and no data are needed.
"""

import dataclasses
import importlib.metadata
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from edp_jax import InputError, TaskSpec, algorithms
from edp_jax.algorithms import Algorithm
from edp_jax.errors import not_installed, one_line
from edp_jax.training import loop, sharding
from edp_jax.training.batches import ResidentRows
from edp_jax.training.members import Member, member_settings

from .chips import find_chip
from .flops import update_flops
from .traffic import memory_bytes

_COLLECTIVES = re.compile(
    r" (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
_CHUNK = 100  # blocks of updates that belong to one call of the training program
ENVIRONMENT = {  # nobody is asked about a machine that is not there
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # any will do
    "TPU_WORKER_HOSTNAMES": "localhost",
    "JAX_PLATFORMS": "cpu",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program; bytes are those of one chip."""

    name: str
    seconds: float  # processor time of tracing and compiling
    collectives: int  # operations that devices exchange data in
    argument_bytes: int
    temporary_bytes: int
    code_bytes: int
    moved_bytes: float  # to and from the chip's memory, per update or call
    flops: float | None  # of one agent's update, in matrix products
    members: int  # agents on the chip


def find_devices(topology: str) -> list[jax.Device]:
    """The devices of a topology that need not be there, such as v5e:2x2: one per chip.

    Raises:
      InputError: libtpu is not installed, or does not know the topology.
    """
    try:
        import libtpu  # noqa: F401  (JAX loads it)
    except ImportError as error:
        raise not_installed("compiling for a TPU", error, "tpu") from error
    config = find_chip(topology).config
    try:
        found = topologies.get_topology_desc(topology, "tpu", chip_config_name=config)
        return list(found.devices)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"--topology={topology}: libtpu does not know it ({one_line(error)[:120]}); "
            "give a chip and a shape, as in v5e:2x2 or v4:2x2x1"
        ) from error


def libtpu_version() -> str:
    """Of the package that compiles."""
    return importlib.metadata.version("libtpu")


def prepare_environment() -> None:
    """Sets what libtpu and JAX read when they start. Call it before JAX is used."""
    os.environ.update(ENVIRONMENT)
    jax.config.update("jax_platforms", "cpu")


@dataclasses.dataclass(frozen=True)
class Task:
    """What is trained, by its sizes."""

    learner: str  # a key of `algorithms.REGISTRY`
    settings: Any  # of the learner
    spec: TaskSpec
    num_transitions: int  # N
    batch_size: int  # B

    @property
    def algorithm(self) -> Algorithm:
        """The learner."""
        return algorithms.make(self.learner, self.settings, self.spec)


def compile_training(
    task: Task, members: Sequence[Member], devices: Sequence[jax.Device]
) -> Program | None:
    """Compiles the training program of R members; None where the chip's memory is too small."""
    mesh = sharding.member_mesh(len(members), devices)
    ahead = task.algorithm.draws_ahead
    return _compile(
        f"{task.learner} training",
        lambda: training(task, members, mesh).lower(),
        members=len(members) // mesh.size,
        flops=update_flops(task.learner, task.settings, task.spec.for_learner, task.batch_size),
        repeats=(_CHUNK, ahead),
        calls=_CHUNK * ahead,
    )


def training(task: Task, members: Sequence[Member], mesh: Mesh) -> jax.stages.Traced:
    """The training program of R members, before it is lowered for a processor."""
    algorithm = task.algorithm
    state = _states(algorithm, len(members))
    rows = jax.ShapeDtypeStruct((task.num_transitions, task.spec.row_width), jnp.float32)
    batches = ResidentRows(rows, None, task.spec, task.batch_size)
    settings = member_settings(algorithm.settings, members)
    one_update = jax.vmap(loop.make_one_update(algorithm), in_axes=(0, None, 0))
    metrics = jax.eval_shape(one_update, state, batches, settings)
    totals = metrics, jax.ShapeDtypeStruct((len(members),), jnp.int32)
    over, everywhere = sharding.over_members(mesh), sharding.replicated(mesh)
    state, totals, settings = (_laid_out(tree, over) for tree in (state, totals, settings))
    batches, number = (_laid_out(tree, everywhere) for tree in (batches, np.int32(0)))
    program = loop.make_program(algorithm, mesh)
    return program.trace(state, totals, batches, settings, number, number)


def acting(task: Task, num_members: int, num_observations: int, mesh: Mesh) -> jax.stages.Traced:
    """What chooses actions of R members at observations [R, E, O], before it is lowered."""
    algorithm, over = task.algorithm, sharding.over_members(mesh)
    params = jax.eval_shape(jax.vmap(algorithm.policy_params), _states(algorithm, num_members))
    shape = (num_members, num_observations, task.spec.observation_dim)
    inputs = params, jax.ShapeDtypeStruct(shape, jnp.float32), _keys(num_members)
    return jax.jit(jax.vmap(algorithm.act), out_shardings=over).trace(*_laid_out(inputs, over))


def state_bytes(task: Task) -> int:
    """Of one agent."""
    leaves = jax.tree.leaves(_states(task.algorithm, 1))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def compile_acting(
    task: Task, num_members: int, num_observations: int, devices: Sequence[jax.Device]
) -> Program | None:
    """Compiles `acting`; None where the chip's memory is too small."""
    mesh = sharding.member_mesh(num_members, devices)
    return _compile(
        f"{task.learner} acting, {num_observations} observation{'s' * (num_observations > 1)}",
        lambda: acting(task, num_members, num_observations, mesh).lower(),
        members=num_members // mesh.size,
    )


def _compile(
    name: str,
    lower: Callable[[], jax.stages.Lowered],
    members: int,
    flops: float | None = None,
    repeats: Sequence[int] = (),
    calls: int = 1,
) -> Program | None:
    start = time.process_time()
    try:
        compiled = lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise
    seconds = time.process_time() - start
    memory, text = compiled.memory_analysis(), compiled.as_text()
    return Program(
        name,
        seconds,
        count_collectives(text),
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.generated_code_size_in_bytes,
        memory_bytes(text, repeats) / calls,
        flops,
        members,
    )


def count_collectives(text: str) -> int:
    """How many operations of a compiled program exchange data between devices."""
    return len(_COLLECTIVES.findall(text))


def _keys(number: int) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(jax.vmap(jax.random.key), jnp.zeros(number, jnp.uint32))


def _states(algorithm: Algorithm, number: int) -> Any:
    return jax.eval_shape(jax.vmap(algorithm.init), _keys(number))


def _laid_out(tree: Any, layout: jax.sharding.Sharding) -> Any:
    """Arrays of a tree without their content, on devices."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=layout), tree
    )
