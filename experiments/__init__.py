"""The programs: modules that `python -m` starts, and the console command `edp-jax`."""

import signal
import sys


def prepare() -> None:
    """Makes ready for the imports of a program, which take seconds.

    Ctrl-C ends them without a traceback (`launch.run` takes it over). Variables of the environment
    that JAX cannot be imported with end in one line and exit code 2.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        import jax  # noqa: F401
    except Exception as error:
        reason = " ".join(str(error).split())[:150]
        print(
            f"error: JAX cannot be imported ({reason}); correct or unset the variable of that "
            "name, or install JAX again",
            file=sys.stderr,
        )
        sys.exit(2)


def command() -> None:
    """The console command `edp-jax`: the program `main`."""
    prepare()
    from . import main

    main.command()


# While `python -m` looks for a module in this package, it has imported the package alone.
if sys.argv[0] == "-m" and any(name.startswith(f"{__name__}.") for name in sys.orig_argv):
    prepare()
