"""Lists every setting of a learner: its key, value, limits and meaning.

python -m experiments.settings edp_td3
python -m experiments.settings edp_td3 kitchen-complete-v0     with the values of a task
python -m experiments.settings --format=markdown               of all learners, for the docs

On the command line of experiments.main a setting is --config.KEY=VALUE. Several values of one that
is marked "sweep" are trained side by side with --config.sweep.KEY="(A,B)".
"""

import signal
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from edp_jax import InputError, algorithms, configuration, data
from edp_jax.errors import program
from edp_jax.settings import Setting

from . import launch

_TITLES = {
    "run": "The run",
    "data": "The data",
    "evaluation": "Evaluation",
    "online": "Learning in the environment",
    "learner": "The learner",
    "processes": "Several processes",
}


def define_flags() -> None:
    flags.DEFINE_enum("format", "text", ("text", "markdown"), "How the list is written.")


def main(argv: Sequence[str]) -> None:
    if flags.FLAGS.format == "markdown":
        print("\n".join(as_markdown()))
        return
    if len(argv) < 2:
        raise InputError(
            f"which learner? {program('settings')} NAME [TASK], NAME one of "
            f"{', '.join(launch.config_names())}"
        )
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    task = argv[2] if len(argv) > 2 else None
    if task is not None:
        data.find_task(task)  # refuses a name that is no task
    print("\n".join(as_text(argv[1], task)))


def as_text(algorithm: str, task: str | None) -> Iterator[str]:
    """The settings of a learner in lines of at most 100 columns."""
    config = configuration.make_config(algorithm, task)
    yield f"{algorithm} on {config['task']}"
    for group, entries in configuration.list_settings(algorithm).items():
        yield f"\n{_TITLES[group]}"
        for entry in entries:
            head = f"  {entry.name} = {config[entry.name]!r}"
            yield textwrap.fill(f"{head:36} {explain(entry)}", 100, subsequent_indent=" " * 37)


def as_markdown() -> Iterator[str]:
    """The settings of all learners, one table per group: the tables of docs/configuration.md."""
    listed = {name: configuration.list_settings(name) for name in algorithms.REGISTRY}
    for group, title in _TITLES.items():
        # by setting and what is said of it, then by learner
        readers: dict[tuple[str, str], dict[str, Setting]] = {}
        for learner, groups in listed.items():
            for entry in groups[group]:
                readers.setdefault((entry.name, explain(entry)), {})[learner] = entry
        yield f"\n### {title}\n"
        yield "| key | default | meaning | read by |"
        yield "| --- | --- | --- | --- |"
        for (name, meaning), entries in readers.items():
            meaning = meaning.replace("|", "\\|")
            yield f"| `{name}` | {_defaults(entries)} | {meaning} | {_read_by(entries, listed)} |"


def _read_by(readers: Collection[str], learners: Collection[str]) -> str:
    """The learners that read a setting, or those that do not, whichever is shorter."""
    others = [name for name in learners if name not in readers]
    if len(others) < len(readers):
        return "all but " + ", ".join(others) if others else "all"
    return ", ".join(readers)


def _defaults(entries: Mapping[str, Setting]) -> str:
    """The default of most learners, and behind it those of the others with their names."""
    learners: dict[str, list[str]] = {}
    for learner, entry in entries.items():
        learners.setdefault(f"`{entry.default!r}`", []).append(learner)
    first, *others = sorted(learners, key=lambda default: -len(learners[default]))
    return "; ".join([first, *(f"{', '.join(learners[value])}: {value}" for value in others)])


def explain(entry: Setting) -> str:
    """Meaning and limits of a setting, and what can be done with it."""
    notes: list[Any] = [str(entry.limits)] if str(entry.limits) else []
    notes += ["sweep"] if entry.traced else []
    notes += ["may change when a run goes on"] if entry.may_change else []
    return entry.meaning + (f" [{'; '.join(notes)}]" if notes else "")


if __name__ == "__main__":
    define_flags()
    launch.run(main, positional=2)
