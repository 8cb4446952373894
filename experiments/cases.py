"""What experiments.benchmark measures: sizes, and the programs of each of its parts."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from edp_jax import TaskSpec, algorithms

from .paper_speed import ABLATIONS, NAIVE

LEARNERS = tuple(algorithms.REGISTRY)
PARTS = (
    "learners",
    "ablations",
    "seeds",
    "batch",
    "curves",
    "stream",
    "sampling",
    "precision",
    "command_buffers",
    "latency",
    "time_to_score",
    "roofline",
)
ON_REQUEST = (
    "precision",
    "command_buffers",
    "latency",
    "time_to_score",
)  # parts that are left out unless named
MAIN = "edp_td3"  # the learner of the parts that look at one only
CHAIN = 256  # width of the paper's networks
CURVES = {  # settings whose cost part curves measures one at a time
    "num_timesteps": (20, 100, 1000),
    "sampler_calls": (1, 2, 5, 10, 15, 30),
    "width": (64, 128, 256, 512),
    "num_transitions": (1_000, 10_000, 100_000, 1_000_000),
}

PRECISIONS = {  # part precision: of float32 matrix products, and settings of the learner
    "float32": ("float32", ()),
    "tensorfloat32": ("tensorfloat32", ()),
    "bfloat16 sampler": ("tensorfloat32", (("sampler_dtype", "bfloat16"),)),
}
MANY_SEEDS = (1, 64, 256)  # of part precision
COMMAND_BUFFERS = {  # what a GPU records as CUDA graphs: flags of XLA
    "whole loops": "",
    "between steps of loops": "--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUDNN,"
    "CUSTOM_CALL,DYNAMIC_SLICE_FUSION",
    "nothing": "--xla_gpu_enable_command_buffer=",
}

Path = tuple[str, ...]  # of an entry in benchmark.json


def _option(default: int | float, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": meaning})


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large and how long; every field is a flag of experiments.benchmark."""

    observation_dim: int = _option(17, "O; 17 is walker2d's")
    action_dim: int = _option(6, "A")
    num_transitions: int = _option(1_000_000, "Rows of the random dataset")
    batch_size: int = _option(256, "B")
    max_batch: int = _option(4096, "Part batch doubles B up to so many")
    max_points: int = _option(
        8,
        "Part curves takes so many values of each setting, smallest first, and part ablations so "
        "many bars, last first, besides the naive loop",
    )
    max_observations: int = _option(
        1000, "Part sampling acts on 1, 10, ... observations at once, up to so many"
    )
    width: int = _option(0, "Upper limit of the width of hidden layers; 0: as configured")
    depth: int = _option(0, "Upper limit of their number; 0: as configured")
    max_calls: int = _option(0, "Upper limit of sampler calls and candidates; 0: as configured")
    matmul_size: int = _option(2048, "Rows and columns of the large matrix product")
    num_seeds: int = _option(1, "Seeds that every compiled training program trains at once")
    max_seeds: int = _option(16, "Part seeds tries 1, 2, 4, ... seeds up to so many")
    max_updates: int = _option(
        60_000, "Updates in which a run of part time_to_score has to get there"
    )
    max_seconds: float = _option(3600.0, "Seconds after which such a run is stopped")
    rounds: int = _option(5, "Times that every program is measured; the median counts")
    seconds: float = _option(2.0, "Length of one measurement")
    asked: int = _option(3, "Part latency asks for one action so many times at least")

    @property
    def spec(self) -> TaskSpec:
        return TaskSpec(self.observation_dim, self.action_dim)


QUICK = Sizes(
    observation_dim=3,
    action_dim=2,
    num_transitions=1000,
    batch_size=16,
    max_batch=16,
    max_points=1,
    max_observations=10,
    width=16,
    depth=1,
    max_calls=2,
    matmul_size=256,
    max_seeds=1,
    max_updates=20,
    rounds=1,
    seconds=0.02,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One program to measure; equal cases are measured once."""

    kind: str  # a key of `measure.UNITS`
    size: int  # batch (train, stream, naive), observations (act), rows and columns (matmul)
    learner: str = ""  # a key of `algorithms.REGISTRY`
    changes: tuple[tuple[str, Any], ...] = ()  # of its settings
    num_transitions: int | None = None  # of the dataset; None: all
    num_seeds: int | None = None  # None: as many as `Sizes` says
    precision: str | None = None  # of float32 matrix products; None: JAX's choice

    def __str__(self) -> str:
        rows = f"{self.num_transitions} transitions" if self.num_transitions else ""
        seeds = f"{self.num_seeds} seeds" if self.num_seeds else ""
        changes = dict(self.changes) or ""
        parts = (self.kind, self.size, self.learner, changes, rows, seeds, self.precision or "")
        return " ".join(str(part) for part in parts if part)


def choose_cases(parts: Sequence[str], learners: Sequence[str], sizes: Sizes) -> dict[Path, Case]:
    """Chooses what to measure for which entry of benchmark.json; entries may share a case."""
    batch = sizes.batch_size
    training = {name: Case("train", batch, name) for name in learners}
    cases: dict[Path, Case] = {}
    if "learners" in parts:
        cases |= {("learners", name): case for name, case in training.items()}
    if "ablations" in parts:
        ours = [title for title, bar in ABLATIONS.items() if bar.learner and title != NAIVE]
        for title in (NAIVE, *ours[-sizes.max_points :]):
            bar = ABLATIONS[title]
            case = Case(bar.kind, batch, bar.learner, bar.changes)
            cases["ablations", title, "training"] = case
            if bar.kind == "train":
                cases["ablations", title, "acting"] = Case("act", 1, bar.learner, bar.changes)
    if "batch" in parts:
        batches = powers(batch, 2, sizes.max_batch)
        cases |= {("batch", str(rows)): Case("train", rows, MAIN) for rows in batches}
    if "curves" in parts:
        for setting, values in CURVES.items():
            for value in values[: sizes.max_points]:
                cases["curves", setting, str(value)] = curve_case(setting, value, sizes)
    if "stream" in parts:
        cases["stream", "device"] = Case("train", batch, MAIN)
        cases["stream", "host"] = Case("stream", batch, MAIN)
    if "sampling" in parts:
        for rows in powers(1, 10, sizes.max_observations):
            cases["sampling", str(rows)] = Case("act", rows, MAIN)
    if "precision" in parts:
        for seeds in [number for number in MANY_SEEDS if number <= sizes.max_seeds]:
            for name, (precision, changes) in PRECISIONS.items():
                case = Case("train", batch, MAIN, changes, num_seeds=seeds, precision=precision)
                cases["precision", f"{seeds} seeds", name] = case
    if "roofline" in parts:
        cases["roofline", "matmul"] = Case("matmul", sizes.matmul_size)
        cases["roofline", "chain"] = Case("matmul", CHAIN)
        cases |= {("roofline", "learners", name): case for name, case in training.items()}
    return cases


def curve_case(setting: str, value: int, sizes: Sizes) -> Case:
    """Gives `MAIN` another value of one of `CURVES`, or none where the sizes cut it down."""
    usual = Case("train", sizes.batch_size, MAIN)
    limits = {
        "sampler_calls": sizes.max_calls,
        "width": sizes.width,
        "num_transitions": sizes.num_transitions,
    }
    if value >= (limits.get(setting) or math.inf):
        return usual
    if setting == "num_transitions":
        return dataclasses.replace(usual, num_transitions=value)
    change = ("hidden_dims", (value,) * 3) if setting == "width" else (setting, value)
    return dataclasses.replace(usual, changes=(change,))


def powers(first: int, factor: int, last: int) -> list[int]:
    """Lists first, first * factor, ... up to `last`, and `first` in any case."""
    values = [first]
    while values[-1] * factor <= last:
        values.append(values[-1] * factor)
    return values
