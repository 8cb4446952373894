"""The command line of every program here: flags, errors in one line, help.

A program defines its flags, under `__main__` only, and then calls `run`.
"""

import contextlib
import os
import pathlib
import re
import runpy
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from edp_jax import InputError, configuration
from edp_jax.errors import program
from edp_jax.files import FULL, cannot_write
from edp_jax.training import hosts, process

from . import exits

_KEY = re.compile(r"--?(config\.[\w.]+)")
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"  # beside this folder, also once installed


def define_config_flag() -> None:
    """Defines --config=NAME[:TASK] and the flags --config.KEY=VALUE."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "What to train: the name of a learner (edp_td3, ...) or a configuration file and, after a "
        "colon, a task or a data file, as in edp_td3:hopper-medium-v2.",
    )


def run(
    main: Callable[[Sequence[str]], int | None],
    *,
    required: Sequence[str] = (),
    positional: int = 0,
) -> None:
    """Runs `main` as a command.

    What a user can mend ends in one line on stderr and exit code 2.

    Args:
      main: gets the program's name and the arguments that are no flags; returns the exit code, or
        None for 0.
      required: flags without which the program cannot run.
      positional: arguments besides flags, at most.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        if {"--help", "-help", "-h"} & set(argv):
            print(_help(main))
            sys.exit(0)
        try:
            arguments = map(_complete, last_of_each(_join_config(argv[1:])))
            return _parse_flags([argv[0], *arguments], required, positional)
        except InputError as error:
            sys.exit(_tell(error))

    def guarded(argv: Sequence[str]) -> None:
        process.fix_numbers()
        try:
            code = main(argv) or 0
        except InputError as error:
            code = _tell(error)
        except OSError as error:
            if error.errno not in FULL:
                raise
            code = _tell(cannot_write(error.filename or "a file", error))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            code = exits.INTERRUPTED
        hosts.exit_together(code)
        sys.exit(code)

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as it was during the imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_standard_streams()
    sys.stdout, sys.stderr = Lasting(sys.stdout), Lasting(sys.stderr)
    logging.set_verbosity(logging.FATAL)  # orbax logs what it does, and errors that it also raises
    # after a save that failed, threads of tensorstore print that nobody waits for them
    sys.unraisablehook = lambda lost: lost.object and sys.__unraisablehook__(lost)
    app.run(guarded, flags_parser=parse)


class Lasting:
    """A standard stream that no program fails for.

    Characters that its encoding does not have are escaped. When nobody reads it any more, as after
    `| head`, or its disk is full, what is written is lost and the program goes on.
    """

    def __init__(self, stream: Any):
        """Wraps sys.stdout or sys.stderr, which are None where they are closed."""
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream
        if hasattr(self._stream, "reconfigure"):
            self._stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Writes to the stream, or nowhere if that fails; returns the length of the text."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes out what the stream has buffered, or gives up silently."""
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)


@contextlib.contextmanager
def starting_programs() -> Iterator[None]:
    """Keeps back what JAX says when a program is started from one that has used it.

    It warns of processes that fork and go on as they are; these become other programs at once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*fork", RuntimeWarning)
        yield


def keep_standard_streams() -> None:
    """Opens the standard streams that are closed, so that no data file takes their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            stream = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(stream, True)


def last_of_each(arguments: Sequence[str]) -> list[str]:
    """Keeps the last of every --config.KEY=VALUE that is there more than once.

    Most flags count as they were given last, but tuples would be joined.

    Args:
      arguments: of the command line, without the program's name.

    Returns:
      The others in their order; a value that stands behind its flag is joined to it by "=".
    """
    joined: list[str] = []
    for argument in arguments:
        before = joined[-1] if joined else ""
        if _KEY.fullmatch(before) and not re.match("--?[A-Za-z]", argument):
            joined[-1] = f"{before}={argument}"
        else:
            joined.append(argument)
    keys = [_KEY.fullmatch(argument.partition("=")[0]) for argument in joined]
    last = {key[1]: index for index, key in enumerate(keys) if key}
    return [
        argument
        for index, (argument, key) in enumerate(zip(joined, keys, strict=True))
        if not key or last[key[1]] == index
    ]


def config_names() -> list[str]:
    """The names that --config knows without a path."""
    return sorted(path.stem for path in CONFIGS.glob("*.py") if path.stem != "__init__")


def _join_config(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--config NAME` as `--config=NAME`."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--config":
            joined[-1] = f"--config={argument}"
        else:
            joined.append(argument)
    return joined


def _complete(argument: str) -> str:
    """--config=NAME[:TASK] with the path of our own file where NAME is no file here."""
    if not argument.startswith("--config="):
        return argument
    name, colon, task = argument.removeprefix("--config=").partition(":")
    return f"--config={find_config(name)}{colon}{task}"


def find_config(name: str) -> str:
    """The path of a configuration file that is given by its path, or of ours by its name.

    Raises:
      InputError: there is none.
    """
    if os.path.isfile(name):
        return name
    parent, stem = os.path.dirname(name), os.path.basename(name).removesuffix(".py")
    if parent in ("", "configs") and stem in config_names():
        return f"{CONFIGS / stem}.py"
    raise InputError(
        f"--config={name}: no such file, and no learner of that name; use one of "
        f"{', '.join(config_names())}, or the path of a configuration file"
    )


def _tell(error: InputError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return exits.BAD_INPUT


def _parse_flags(argv: list[str], required: Sequence[str], positional: int) -> list[str]:
    """Parses the command line; raises InputError, which names the flag or configuration key."""
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS and flags.FLAGS.config is not None:
            config = flags.FLAGS.config  # a file that cannot be loaded is only noticed here
            config.lock()
            if not {"task", "algorithm", "seeds", "sweep"} <= set(config):
                raise InputError(
                    "--config: this file does not make a configuration of a run; let it return "
                    "ConfigDict(edp_jax.configuration.make_config(LEARNER, task))"
                )
    except OSError as error:
        path = next((a for a in argv if a.startswith("--config=")), "--config")
        raise InputError(f"{path}: cannot be loaded; name a configuration file") from error
    except InputError:
        raise
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(_flag_problem(argv, error)) from error
    if missing := [name for name in required if flags.FLAGS[name].value in (None, "")]:
        words = {"config": "--config=edp_td3[:TASK]", "workdir": "--workdir=DIR"}
        usage = " ".join(words.get(name, f"--{name}=...") for name in required)
        raise InputError(f"--{missing[0]} is missing: give {usage}; --help lists all flags")
    if any(argument.startswith("--config.task") for argument in argv):
        raise InputError(
            "--config.task: a task brings its own settings, so it is part of the name: "
            "--config=NAME:TASK"
        )
    if rest[1 + positional :]:
        raise InputError(
            f"argument {rest[1 + positional]!r} is not a flag: write --config.seeds='(0,1)', "
            "in quotes and without blanks"
        )
    return rest


def _flag_problem(argv: Sequence[str], error: Exception) -> str:
    if "before a value for --config" in str(error):  # ml_collections' words
        return "--config=NAME[:TASK] must stand before every --config.KEY=VALUE"
    config = _loaded(argv)
    for argument in argv[1:]:
        key = argument.split("=")[0].removeprefix("--config.")
        known = config is None or key in config or key.removeprefix("sweep.") in config.sweep
        if argument.startswith("--config.") and not known:
            return configuration.explain_unknown(config.algorithm, key)
    typed = re.search(r"Unknown command line flag '(\w+)'", str(error))
    if typed and config is not None and typed[1] in config:
        return f"--{typed[1]}: a setting of the run; write --config.{typed[1]}=VALUE"
    hint = "; see --help"
    if "--config." in str(error):
        name = "LEARNER" if config is None else config.algorithm
        hint = f"; {program('settings')} {name} lists the keys with the type of each"
    return " ".join(str(error).split()) + hint


def _loaded(argv: Sequence[str]) -> ConfigDict | None:
    """The configuration that --config=FILE[:TASK] names, without the values of other flags."""
    for argument in argv:
        path, _, task = argument.removeprefix("--config=").partition(":")
        if argument.startswith("--config=") and os.path.isfile(path):
            return runpy.run_path(path)["get_config"](task or None)
    return None


def _help(main: Callable) -> str:
    """The program's description and its own flags."""
    text = (sys.modules[main.__module__].__doc__ or "").strip()
    lines = [text.replace("python -m experiments.", program("")), "", "Flags:"]
    for module, own in sorted(flags.FLAGS.flags_by_module_dict().items()):
        if not module.startswith(("absl", "chex", "orbax")):
            for flag in own:
                default = "" if flag.default in (None, "", []) else f" (default: {flag.default})"
                lines.append(f"  --{flag.name}: {' '.join((flag.help or '').split())}{default}")
    if "config" in flags.FLAGS:
        lines.append("  --config.KEY=VALUE: any setting of the learner and the run, after --config")
        lines += ["", f"Learners: {', '.join(config_names())}."]
        lines.append(f"{program('settings')} edp_td3 lists the settings of one.")
    return "\n".join(lines)
