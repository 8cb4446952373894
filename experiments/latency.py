"""How long a policy takes to choose an action: part latency of experiments.benchmark.

Every way of acting is measured as `edp_jax.load_policy` loads it, from the folder of a run (jit)
and from files of both formats, for one observation and for batches.
"""

import collections
import csv
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from edp_jax import InputError, TaskSpec, Units, algorithms, load_policy
from edp_jax.diffusion import ONE_CALL
from edp_jax.errors import one_line
from edp_jax.export import (
    Policy,
    PolicyFile,
    Program,
    make_program,
    save_policy,
    write_policy,
)
from edp_jax.export.folder import Stored, read_folder

from .cases import Sizes

BATCHES = (1, 10, 100, 1000)
FORMATS = ("jit", ".edp", ".onnx")
UNROLLED = 100  # most calls of a chain in an .onnx file, which has no loops
CANDIDATES = (10, 50)  # besides one
_CALLS = 15  # of the chains that choose among them
_NOT_OF_WAY = ("selection_temperature", "starting_noise", "execute")  # other ways of acting


class Way(NamedTuple):
    """How a policy acts."""

    sampler: str
    sampler_calls: int
    num_candidates: int = 1

    def __str__(self) -> str:
        choice = f", {self.num_candidates} candidates" if self.num_candidates > 1 else ""
        return f"{self.sampler}, {self.sampler_calls} calls{choice}"


WAYS = (
    Way("ddpm", 1000),
    Way("ddpm", 100),
    Way("ddim", 15),
    *(Way("dpm_solver_3", calls) for calls in (_CALLS, 10, 5, 3, 2, 1)),
    *(Way("dpm_solver_3", _CALLS, candidates) for candidates in CANDIDATES),
)
ONE_CALL_WAYS = tuple(Way(ONE_CALL, 1, candidates) for candidates in (1, *CANDIDATES))


def measure(
    folder: str, sizes: Sizes, progress: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Measures a policy in all ways of acting and formats.

    Args:
      folder: of a run, or its policy/ folder.
      sizes: `seconds` that each way is asked with one observation, in at least `asked` calls, and
        with all batches together; `max_observations`, the largest batch; `max_calls`, the most
        calls and candidates.
      progress: called with a line for each way.

    Returns:
      Per way and format: `median_ms`, `p99_ms`, `p999_ms` (where there were enough calls) of
      `calls` calls with one observation, `actions_per_second` by size of batch, and
      `first_action_seconds`, from loading to the first action; or `error`, why there is none.
    """
    results: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as files:
        settings = check_policy(folder)
        for way in ways_up_to(sizes.max_calls, one_call=settings.sampler == ONE_CALL):
            for form in FORMATS:
                try:
                    path = _write(folder, way, form, files)
                    options = _options(way, settings) if form == "jit" else {}
                    entry = _measure(path, options, sizes)
                except InputError as error:
                    entry = {"error": one_line(error)}
                results[str(way)][form] = entry
                rate = (
                    f"median {entry['median_ms']:.3f} ms"
                    if "median_ms" in entry
                    else entry["error"]
                )
                progress(f"{way}, {form}: {rate}")
    return dict(results)


def check_policy(folder: str) -> Any:
    """The settings of a policy that can be measured.

    Raises:
      InputError: there is none in `folder`, or it has no sampler whose calls could be counted.
    """
    file = _stored(folder).file
    if not hasattr(file.settings, "sampler"):
        raise InputError(
            f"policy {folder!r}: {file.algorithm} has no diffusion policy and one way to act; "
            "name the run of a learner that has one"
        )
    return file.settings


def ways_up_to(limit: int, *, one_call: bool = False) -> tuple[Way, ...]:
    """`WAYS`, or `ONE_CALL_WAYS`, with at most so many calls and candidates; 0: all."""
    return tuple(
        way
        for way in (ONE_CALL_WAYS if one_call else WAYS)
        if not limit or max(way.sampler_calls, way.num_candidates) <= limit
    )


def untrained(folder: str, algorithm: str, settings: Any, spec: TaskSpec) -> str:
    """Writes a policy that has learned nothing, which is as fast as any other; returns `folder`."""
    learner = algorithms.make(algorithm, settings, spec)
    params = learner.policy_params(learner.init(jax.random.key(0)))
    params = jax.tree.map(lambda leaf: leaf[None], params)
    one, zero = np.ones, np.zeros
    units = Units(
        zero(spec.observation_dim),
        one(spec.observation_dim),
        -one(spec.action_dim),
        one(spec.action_dim),
    )
    save_policy(folder, PolicyFile(algorithm, settings, spec, ({"seed": 0},), units), params)
    return folder


def _write(folder: str, way: Way, form: str, files: str) -> str:
    """Writes the policy as a file, unless it is to be loaded from its folder; returns the path."""
    if form == "jit":
        return folder
    if form == ".onnx" and way.sampler_calls > UNROLLED:
        raise InputError(
            f"a chain of {way.sampler_calls} calls is too long for a format without loops"
        )
    path = os.path.join(files, f"policy{form}")
    write_policy(path, _program(folder, way))
    return path


def _program(folder: str, way: Way) -> Program:
    """The policy of a run's first member that has not diverged, acting in some way."""
    stored = _stored(folder)
    params = stored.params_of(folder, stored.find(folder, {}))
    return make_program(stored.file, params, _options(way, stored.file.settings))


def _stored(folder: str) -> Stored:
    inner = os.path.join(folder, "policy")
    return read_folder(inner if os.path.isdir(inner) else folder)


def _options(way: Way, settings: Any) -> dict[str, Any]:
    """A way as settings; one candidate is not one of them where the learner has no choice."""
    named = way._asdict()
    if way.num_candidates == 1 and not hasattr(settings, "num_candidates"):
        del named["num_candidates"]
    return named


def _measure(path: str, options: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    start = time.perf_counter()
    policy = load_policy(path, **options)
    policy.warm_up()
    first = time.perf_counter() - start
    durations = time_calls(policy, None, sizes.seconds, sizes.asked)
    rates = {}
    for batch in (size for size in BATCHES if size <= sizes.max_observations):
        policy.warm_up(batch)
        each = time_calls(policy, batch, sizes.seconds / len(BATCHES))
        rates[str(batch)] = batch / np.median(each)
    return {
        **summarise(durations),
        "actions_per_second": rates,
        "first_action_seconds": first,
    }


def time_calls(policy: Policy, batch: int | None, seconds: float, least: int = 3) -> np.ndarray:
    """Seconds [n] that calls one after the other take, with observations [O] or [batch, O].

    They go on for so many seconds and at least `least` calls.
    """
    axes = () if batch is None else (batch,)
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((16, *axes, policy.observation_dim), np.float32)
    durations, end = [], time.perf_counter() + seconds
    while (now := time.perf_counter()) < end or len(durations) < least:
        policy(observations[len(durations) % len(observations)])
        durations.append(time.perf_counter() - now)
    return np.array(durations)


def summarise(durations: np.ndarray) -> dict[str, Any]:
    """Median and high percentiles in ms; a percentile needs ten calls beyond it."""
    entry: dict[str, Any] = {
        "calls": len(durations),
        "median_ms": 1e3 * float(np.median(durations)),
    }
    for name, percent in (("p99_ms", 99.0), ("p999_ms", 99.9)):
        if round(len(durations) * (1.0 - percent / 100.0), 6) >= 10:
            entry[name] = 1e3 * float(np.percentile(durations, percent))
    return entry


def read_scores(tables: Iterable[str]) -> dict[str, float]:
    """The mean score, or return, of the episodes that acted in each way, by `str(way)`.

    Episodes that failed count nowhere.

    Args:
      tables: paths of tables that experiments.evaluate wrote.

    Raises:
      InputError: one of them is none, or one way acted with several settings of another kind.
    """
    scores, others = collections.defaultdict(list), {}
    for path in tables:
        rows = _rows(path)
        try:
            for row in rows:
                way = str(
                    Way(row["sampler"], int(row["sampler_calls"]), int(row["num_candidates"]))
                )
                score, length = float(row.get("score") or row["return"]), int(row["length"])
                other = tuple(row.get(name) for name in _NOT_OF_WAY)
                if length >= 0:
                    scores[way].append(score)
                if others.setdefault(way, other) != other:
                    raise InputError(
                        f"--scores={path}: {way} is there with several values of one of "
                        f"{', '.join(_NOT_OF_WAY)}; let experiments.evaluate try one of them"
                    )
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"--scores={path}: a row is no episode of experiments.evaluate ({one_line(error)})"
            ) from error
    return {way: float(np.mean(values)) for way, values in scores.items()}


def add_scores(
    results: Mapping[str, Mapping[str, dict[str, Any]]], scores: Mapping[str, float]
) -> None:
    """Adds the score of each way, from `read_scores`, to all its formats in what `measure` gave."""
    for way, forms in results.items():
        if way in scores:
            for entry in forms.values():
                entry["score"] = scores[way]


def _rows(path: str) -> Sequence[Mapping[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"--scores={path}: cannot be read ({one_line(error)})") from error
    columns = {"return", "length", *Way._fields}
    if missing := sorted(columns - (rows[0].keys() if rows else set())):
        raise InputError(
            f"--scores={path}: no table of this version's experiments.evaluate, for it has no "
            f"column {missing[0]!r} or no row"
        )
    return rows


def describe(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """The rows of a table: way, format, percentiles, actions per second by batch, score."""
    lines = []
    for way, forms in results.items():
        for form, entry in forms.items():
            if "error" in entry:
                lines.append(f"| {way} | {form} | {entry['error']} |")
                continue
            high = [f"{entry[key]:.3f}" if key in entry else "-" for key in ("p99_ms", "p999_ms")]
            rates = " | ".join(f"{rate:.4g}" for rate in entry["actions_per_second"].values())
            score = f"{entry['score']:.1f}" if "score" in entry else "-"
            cells = (way, form, f"{entry['median_ms']:.3f}", *high, rates, score)
            lines.append(f"| {' | '.join(cells)} |")
    return lines
