"""Where the runs of a sweep are started: on this machine, by Slurm, or on a Ray cluster.

A launcher is a context in which the runs are under way. At its end nothing of them is left.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edp_jax import InputError
from edp_jax.errors import not_installed, one_line

from . import jobs, launch, leases
from .jobs import Job, Needs, Outcome


class Pending(NamedTuple):
    """A run that a launcher has taken."""

    done: Callable[[], bool]
    outcome: Callable[[], Outcome]  # once it is done
    stop: Callable[[], None]  # asks it to save its state and end


@dataclasses.dataclass(frozen=True)
class Options:
    """What a sweep is told about its launcher."""

    at_once: int = 0  # runs at a time; 0: as many as there is room for
    address: str = ""  # of a Ray cluster
    slurm: Mapping[str, str] = dataclasses.field(default_factory=dict)  # parameters of sbatch
    folder: str = ""  # for what the launcher itself writes


@contextlib.contextmanager
def local(todo: Sequence[Job], needs: Needs, options: Options) -> Iterator[list[Pending]]:
    """Runs jobs on this machine, each on cores and GPUs of its own."""
    if needs.tpus:
        raise InputError(
            f"--tpus={needs.tpus}: --launcher=local does not divide the chips of a host; start one "
            "run on all of them with experiments.main, or use --launcher=ray"
        )
    places = leases.shares(leases.gpus(), needs.gpus) if needs.gpus else []
    room = _room("cpus", needs.cpus, len(leases.cores()))
    if needs.gpus:
        per_run = max(1, int(needs.gpus))
        room = min(room, _room("gpus", per_run, len(places)))
    jobs.forget_status(todo)
    stopping = threading.Event()

    def run(job: Job) -> Outcome:
        if stopping.is_set():
            return Outcome(jobs.STOPPED)
        if not needs.gpus:
            return jobs.supervise(job, needs, stopping.is_set)
        with leases.lease("gpu", places, per_run) as taken:
            if not taken:
                return Outcome(jobs.FAILED, "the GPUs are taken by runs of another sweep")
            visible = {"CUDA_VISIBLE_DEVICES": ",".join(name.split(".")[0] for name in taken)}
            own = dataclasses.replace(needs, environment={**needs.environment, **visible})
            return jobs.supervise(job, own, stopping.is_set)

    with concurrent.futures.ThreadPoolExecutor(min(options.at_once or room, len(todo))) as pool:
        try:
            futures = [pool.submit(run, job) for job in todo]
            yield [Pending(f.done, _told(f.result), stopping.set) for f in futures]
        finally:
            stopping.set()


@contextlib.contextmanager
def slurm(todo: Sequence[Job], needs: Needs, options: Options) -> Iterator[list[Pending]]:
    """Submits jobs as an array to Slurm; those that are preempted or time out are queued again."""
    try:
        import submitit
    except ImportError as error:
        raise not_installed("--launcher=slurm", error, "cluster") from error

    class Supervised:
        """A job that submitit queues again where Slurm ends it."""

        def __call__(self, job: Job) -> Outcome:
            return jobs.supervise(job, needs)

        def checkpoint(self, job: Job) -> Any:
            return submitit.helpers.DelayedSubmission(self, job)

    parameters: dict[str, Any] = {"name": "edp_jax", "cpus_per_task": needs.cpus}
    if needs.gpus:
        parameters["gpus_per_node"] = max(1, int(needs.gpus))
    if options.at_once:
        parameters["slurm_array_parallelism"] = options.at_once
    parameters |= {f"slurm_{key}": value for key, value in options.slurm.items()}
    try:
        executor = submitit.AutoExecutor(
            options.folder, cluster="slurm", slurm_max_num_timeout=needs.retries
        )
        executor.update_parameters(**parameters)
        jobs.forget_status(todo)
        with executor.batch():
            submitted = [executor.submit(Supervised(), job) for job in todo]
    except (RuntimeError, OSError, NameError, ValueError, submitit.core.utils.FailedJobError) as e:
        raise InputError(
            f"--launcher=slurm: the jobs cannot be submitted ({one_line(e)}); start it where "
            "sbatch works, and see --slurm"
        ) from e
    try:
        yield [Pending(job.done, _told(job.result), job.cancel) for job in submitted]
    finally:
        for job in submitted:
            if not job.done():
                job.cancel()


@contextlib.contextmanager
def ray(todo: Sequence[Job], needs: Needs, options: Options) -> Iterator[list[Pending]]:
    """Runs every job as a task of Ray, which tries it again where a worker or a node dies."""
    if options.at_once:
        raise InputError(
            f"--at_once={options.at_once}: on a Ray cluster what a run needs says how many fit "
            "at a time; leave it out, and see --cpus, --gpus and --tpus"
        )
    try:
        import ray as cluster
    except ImportError as error:
        raise not_installed("--launcher=ray", error, "cluster") from error
    _connect(cluster, options.address)
    jobs.forget_status(todo)
    for name, amount in {"CPU": needs.cpus, "GPU": needs.gpus, "TPU": needs.tpus}.items():
        if not any(node["Resources"].get(name, 0) >= amount for node in cluster.nodes()):
            print(f"no node has {amount:g} {name} yet; the runs wait for one", flush=True)

    def interruptible(job: Job, needs: Needs) -> Outcome:
        # Ray interrupts a task that is to stop, but for this where the sweep was started with &
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return jobs.supervise(job, needs)

    supervise = cluster.remote(
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        resources={"TPU": needs.tpus} if needs.tpus else {},
        max_retries=needs.retries,
        scheduling_strategy="SPREAD",
    )(interruptible)

    def pending(job: Job) -> Pending:
        reference = supervise.options(name=job.name).remote(job, needs)
        return Pending(
            lambda: bool(cluster.wait([reference], timeout=0, fetch_local=False)[0]),
            _told(lambda: cluster.get(reference)),
            lambda: cluster.cancel(reference),
        )

    try:
        yield [pending(job) for job in todo]
    finally:
        cluster.shutdown()


def _connect(cluster: Any, address: str) -> None:
    """Connects the package ray to a cluster, or starts one with the cores of this process.

    Args:
      cluster: the package.
      address: see `Options`.

    Raises:
      InputError: that fails.
    """
    init = functools.partial(
        cluster.init, address or None, log_to_driver=False, logging_level="ERROR"
    )
    named = address or os.environ.get("RAY_ADDRESS", "")
    try:
        with launch.starting_programs():
            if named in ("", "local"):
                with contextlib.suppress(ValueError):  # one runs here, and has its cores
                    init(num_cpus=len(leases.cores()))
                    return
            init()
    except Exception as error:  # Ray raises what it likes
        reason = one_line(error)[:100]
        if named in ("", "local"):
            raise InputError(
                f"--launcher=ray: Ray cannot be started on this machine ({reason}); it waits 30 s "
                "for itself: try again when the machine is less busy, or use --launcher=local"
            ) from error
        raise InputError(
            f"{'--address' if address else 'RAY_ADDRESS'}={named:.60}: no Ray cluster can be "
            f"reached ({reason}); start one (docs/cluster.md), or leave the address out for one on "
            "this machine"
        ) from error


LAUNCHERS = {"local": local, "slurm": slurm, "ray": ray}


def _room(flag: str, each: int, number: int) -> int:
    """How many runs there is room for, each with a number of cores or GPUs."""
    if each > number:
        raise InputError(
            f"--{flag}={each}: this machine has {number} for runs; ask for at most that"
        )
    return number // each


def _told(result: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """`result`, with the errors of a launcher as outcomes."""

    def outcome() -> Outcome:
        try:
            return result()
        except Exception as error:  # launchers raise what they like
            if "Cancel" in type(error).__name__:
                return Outcome(jobs.STOPPED)
            return Outcome(jobs.FAILED, f"{type(error).__name__}: {one_line(error)}")

    return outcome
