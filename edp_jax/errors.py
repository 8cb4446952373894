"""The wording of messages: errors in one line, counted things, how a program is started."""

import contextlib
import pathlib
import re
from collections.abc import Collection, Iterator

from edp_jax.types import InputError

_LONGEST = 150  # characters


def one_line(error: BaseException) -> str:
    """The beginning of an error's text in one line; its type where it has no text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def counted(number: int, noun: str) -> str:
    """A number of things in words, such as "1 episode" or "2,000 episodes"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def not_installed(user: str, error: Exception, extra: str) -> InputError:
    """What to raise where an optional package cannot be imported.

    Args:
      user: what needs the package, such as "environment 'hopper'".
      error: the error of the import.
      extra: the extra of edp_jax that installs the package.
    """
    return InputError(f"{user}: {one_line(error)}; {install(extra)}")


def install(extra: str) -> str:
    """How an extra is installed: into a clone, or where the package is installed without one."""
    return f"pip install 'edp_jax[{extra}]'" if _is_installed() else f"pip install -e '.[{extra}]'"


def program(name: str) -> str:
    """How a program is started here, in a clone or where the package is installed without one.

    Args:
      name: its module, such as "main".
    """
    return f"python -m {'edp_jax.' if _is_installed() else ''}experiments.{name}"


def _is_installed() -> bool:
    return pathlib.Path(__file__).with_name("experiments").is_dir()


@contextlib.contextmanager
def as_flags(names: Collection[str]) -> Iterator[None]:
    """Rewrites errors of a block in a program whose own flags are settings of a run elsewhere.

    Args:
      names: of settings: what the library calls config.NAME is the flag --NAME to who typed it.

    Raises:
      InputError: one of the block.
    """
    try:
        yield
    except InputError as error:
        settings = rf"(--)?config\.(?=({'|'.join(names)})\b)"
        raise InputError(re.sub(settings, "--", str(error))) from error
