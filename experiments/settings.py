"""Lists every setting of a learner: its key, value, limits and meaning.

python -m experiments.settings edp_td3
python -m experiments.settings edp_td3 kitchen-complete-v0     with the values of a task
python -m experiments.settings edp_td3 --format=markdown       as tables for a document

On the command line of experiments.main a setting is --config.KEY=VALUE; several values of one that is
marked "sweep" are trained side by side with --config.sweep.KEY="(A,B)".
"""

import signal
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from edp_jax import InputError, configuration
from edp_jax.settings import Setting

from . import launch

_TITLES = {
    "run": "The run",
    "data": "The data",
    "evaluation": "Evaluation",
    "learner": "The learner",
    "processes": "Several processes",
}


def define_flags() -> None:
    flags.DEFINE_enum("format", "text", ("text", "markdown"), "How the list is written.")


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise InputError(
            f"which learner? python -m experiments.settings NAME [TASK], NAME one of "
            f"{', '.join(launch.config_names())}"
        )
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    task = argv[2] if len(argv) > 2 else None
    write = as_markdown if flags.FLAGS.format == "markdown" else as_text
    print("\n".join(write(argv[1], task)))


def as_text(algorithm: str, task: str | None) -> Iterator[str]:
    """The settings of a learner in lines of at most 100 columns."""
    config = configuration.make_config(algorithm, task)
    yield f"{algorithm} on {config['task']}"
    for group, entries in configuration.list_settings(algorithm).items():
        yield f"\n{_TITLES[group]}"
        for entry in entries:
            head = f"  {entry.name} = {config[entry.name]!r}"
            yield textwrap.fill(f"{head:36} {explain(entry)}", 100, subsequent_indent=" " * 37)


def as_markdown(algorithm: str, task: str | None) -> Iterator[str]:
    """The settings of a learner as one table per group."""
    config = configuration.make_config(algorithm, task)
    for group, entries in configuration.list_settings(algorithm).items():
        yield f"\n**{_TITLES[group]}**\n"
        yield "| key | value | meaning |"
        yield "| --- | --- | --- |"
        for entry in entries:
            yield f"| `{entry.name}` | `{config[entry.name]!r}` | {explain(entry)} |"


def explain(entry: Setting) -> str:
    """Meaning and limits of a setting, and what can be done with it."""
    notes: list[Any] = [str(entry.limits)] if str(entry.limits) else []
    notes += ["sweep"] if entry.traced else []
    notes += ["may change when a run goes on"] if entry.may_change else []
    return entry.meaning + (f" [{'; '.join(notes)}]" if notes else "")


if __name__ == "__main__":
    define_flags()
    launch.run(main, positional=2)
