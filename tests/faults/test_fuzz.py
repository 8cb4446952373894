"""Every reader refuses damaged files in one line, or reads what is sound in them.

Here it is a few files of each format; `python -m tests.faults.fuzz` reads 10,000 of each.
"""

import pathlib
import tempfile

import pytest

from tests.faults import fuzz

hypothesis = pytest.importorskip(
    "hypothesis", reason="hypothesis is not installed: pip install -e '.[test]'"
)
NEEDS = {"csv": "pyarrow", "parquet": "pyarrow", "lerobot": "pyarrow", "minari": "minari"}
SLOW = {"policy": 8, "minari": 40}  # inputs of formats that take longer than milliseconds


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_damaged_input_is_refused_in_a_line_or_sound(target, monkeypatch):
    package = NEEDS.get(target, "numpy")
    pytest.importorskip(package, reason=f"needs the package {package}")
    monkeypatch.setenv("MINARI_DATASETS_PATH", "set by the inputs")

    @hypothesis.settings(
        max_examples=SLOW.get(target, 60),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(hypothesis.strategies.randoms(use_true_random=False))
    def check(rng):
        with tempfile.TemporaryDirectory() as folder:
            assert fuzz.outcome(target, rng, pathlib.Path(folder) / "input") in ("sound", "refused")

    check()
