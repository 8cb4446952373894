"""Reports on many runs: scores with their statistics, learning curves, what went wrong.

python -m experiments.report --runs='runs/*' --out=report

Writes report.html (one file), report.md, tables/*.csv and figures/ (docs/reports.md).
"""

import os
from collections.abc import Sequence

from absl import flags

from edp_jax.reports import write_report

from . import launch


def define_flags() -> None:
    flags.DEFINE_multi_string(
        "runs", None, "Folders of runs, or folders with runs inside; may have * and be repeated"
    )
    flags.DEFINE_string("out", None, "Folder of the report.")
    flags.DEFINE_string(
        "expect",
        None,
        "A csv file with the columns task, learner, seed: the runs that should be there. By "
        "default those in the suite.json of a sweep, and where there is none every learner on "
        "every task with every seed that any run has.",
    )


def main(_: Sequence[str]) -> None:
    out = os.path.expanduser(flags.FLAGS.out)
    report = write_report(flags.FLAGS.runs, out, flags.FLAGS.expect)
    print(report.summary)
    for name in ("report.html", "report.md"):
        print(os.path.join(out, name))


if __name__ == "__main__":
    define_flags()
    launch.run(main, required=("runs", "out"))
