"""How long a policy takes to choose an action: part latency of experiments.benchmark.

Every way of acting is measured as `edp_jax.load_policy` loads it, from the folder of a run (jit)
and from files of both formats, for one observation and for batches.
"""

import collections
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from edp_jax import InputError, TaskSpec, Units, algorithms, load_policy
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
from edp_jax.runs import Run

from .cases import MAIN, Case, Sizes
from .measure import make_algorithm
from .ways import Way, choose_ways

BATCHES = (1, 10, 100, 1000)
FORMATS = ("jit", ".edp", ".onnx")
UNROLLED = 100  # most calls of a chain in an .onnx file, which has no loops
_COLUMNS = ("way of acting", "format", "median ms", "99 %", "99.9 %")
_FOR_999 = 10_000  # calls that the last of these needs


def run(
    policy: str, scores: Mapping[Way, float], sizes: Sizes, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Measures how long a policy takes to act.

    Args:
      policy: folder of a run; empty: `MAIN` untrained, with the settings of the paper's task.
      scores: of ways of acting, from `ways.read_scores`.
      sizes: how large and how long, see `measure`.
      progress: called with a line for each way, and with one for scores that found no place.

    Returns:
      Of benchmark.json, `latency`, and `policy` where one is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        about = {"policy": describe_policy(policy)} if policy else {}
        if not policy:
            settings = make_algorithm(Case("act", 1, MAIN), sizes).settings
            policy = untrained(folder, MAIN, settings, sizes.spec)
        results = measure(policy, sizes, progress, scores)
    if lost := add_scores(results, scores):
        told = "; ".join(f"{way} ({scores[way]:.1f})" for way in lost)
        limit = f", or --max_calls={sizes.max_calls} leaves it out" if sizes.max_calls else ""
        progress(f"scores without a row: {told}: the policy does not act in that way{limit}")
    return {"latency": results, **about}


def describe_policy(folder: str) -> dict[str, Any]:
    """What benchmark.json says of a policy: its folder, what it is, its sizes."""
    file = _stored(folder).file
    path = os.path.abspath(folder)
    workdir = path if os.path.isdir(os.path.join(path, "policy")) else os.path.dirname(path)
    recorded = os.path.isfile(os.path.join(workdir, "config.json"))
    return {
        "path": folder,
        "title": Run(workdir).title if recorded else file.algorithm,
        "observation_dim": file.spec.observation_dim,
        "action_dim": file.spec.action_dim,
    }


def measure(
    folder: str,
    sizes: Sizes,
    progress: Callable[[str], None],
    scored: Collection[Way] = (),
) -> dict[str, dict[str, Any]]:
    """Measures a policy in all ways of acting and formats.

    Args:
      folder: of a run, or its policy/ folder.
      sizes: `seconds` that each way is asked with one observation, in at least `asked` calls, and
        with all batches together; `max_observations`, the largest batch; `max_calls`, the most
        calls and candidates.
      progress: called with a line for each way.
      scored: ways to measure besides the usual ones and the policy's own.

    Returns:
      Per way and format: `median_ms`, `p99_ms`, `p999_ms` (where there were enough calls) of
      `calls` calls with one observation, `actions_per_second` by size of batch, and
      `first_action_seconds`, from loading to the first action; or `error`, why there is none.
    """
    results: dict[str, dict[str, Any]] = collections.defaultdict(dict)
    with tempfile.TemporaryDirectory() as files:
        settings = check_policy(folder)
        for way in choose_ways(settings, sizes.max_calls, scored):
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


def add_scores(
    results: Mapping[str, Mapping[str, dict[str, Any]]], scores: Mapping[Way, float]
) -> list[Way]:
    """Writes the score of each way of acting beside its times, in every format.

    Args:
      results: what `measure` gave; it is changed.
      scores: of ways of acting.

    Returns:
      The ways with a score that were not measured.
    """
    for way, score in scores.items():
        for entry in results.get(str(way), {}).values():
            entry["score"] = score
    return [way for way in scores if str(way) not in results]


def describe(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A table: way, format, percentiles, actions per second by batch, score; and what lacks."""
    entries = [entry for forms in results.values() for entry in forms.values()]
    measured = [entry for entry in entries if "error" not in entry]
    if not entries:
        return []
    batches = measured[0]["actions_per_second"] if measured else ()
    columns = (*_COLUMNS, *(f"actions/s, batch {size}" for size in batches), "score")
    lines = [_row(columns), _row("---" for _ in columns)]
    for way, forms in results.items():
        for form, entry in forms.items():
            if "error" in entry:
                lines.append(_row((way, form, entry["error"])))
                continue
            high = [f"{entry[key]:.3f}" if key in entry else "-" for key in ("p99_ms", "p999_ms")]
            rates = [f"{rate:.4g}" for rate in entry["actions_per_second"].values()]
            score = f"{entry['score']:.1f}" if "score" in entry else "-"
            lines.append(_row((way, form, f"{entry['median_ms']:.3f}", *high, *rates, score)))
    if any("p999_ms" not in entry for entry in measured):
        lines.append(
            "A percentile is - where fewer than ten calls lie beyond it; "
            f"--asked={_FOR_999} makes enough for all."
        )
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
