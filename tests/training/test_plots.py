"""The learning curve of a run."""

import numpy as np
import pytest

from edp_jax.training import plots, writers
from edp_jax.training.members import grid

SEEDS = grid((0, 1), {})


def evaluations(path, scores: np.ndarray | None) -> str:
    table = writers.CsvTable(str(path))
    for step in range(1, 6):
        returns = np.array([[step, step + 2.0], [2.0 * step, 2.0 * step + 2]])
        table.append(
            writers.evaluation_rows(step * 1000, SEEDS, returns, np.ones((2, 2), int), scores)
        )
    return str(path)


def test_curves_average_the_episodes_of_each_seed(tmp_path):
    ((point, (steps, curves)),) = plots._curves(
        evaluations(tmp_path / "evaluations.csv", None), "return", ()
    ).items()
    assert point == ()
    np.testing.assert_array_equal(steps, [1000, 2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(curves, [[2, 3, 4, 5, 6], [3, 5, 7, 9, 11]])  # t + 1 and 2 t + 1


@pytest.mark.parametrize("scores", [None, np.full((2, 2), 50.0)])
def test_learning_curve_is_a_png(tmp_path, scores):
    table = evaluations(tmp_path / "evaluations.csv", scores)
    png = tmp_path / "learning_curve.png"
    plots.plot_learning_curve(table, str(png), "EDP-TD3 on builtin/hopper-medium", reference=4.0)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "evaluations.csv",
        "learning_curve.png",
    ]


def test_learning_curve_of_a_metric(tmp_path):
    table, png = tmp_path / "metrics.csv", tmp_path / "learning_curve.png"
    writers.CsvTable(str(table)).append(
        writers.metric_rows(1, SEEDS[:1], {"critic/loss": np.array([0.5])})
    )
    plots.plot_learning_curve(str(table), str(png), "title", column="critic/loss")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_no_values_no_picture(tmp_path):
    table, png = tmp_path / "evaluations.csv", tmp_path / "learning_curve.png"
    table.write_text("step,seed,episode,return,length,score\n")
    plots.plot_learning_curve(str(table), str(png), "title")
    assert not png.exists()


def test_a_sweep_has_a_curve_per_point(tmp_path):
    members, table = grid((0, 1), {"eta": (0.5, 2.0), "tau": ()}), tmp_path / "metrics.csv"
    for step in (10, 20):
        loss = step * np.array([1.0, 2.0, 3.0, 4.0])
        writers.CsvTable(str(table)).append(
            writers.metric_rows(step, members, {"actor/loss": loss})
        )
    curves = plots._curves(str(table), "actor/loss", ["eta"])
    np.testing.assert_array_equal(curves["0.5",][1], [[10, 20], [20, 40]])
    np.testing.assert_array_equal(curves["2.0",][1], [[30, 60], [40, 80]])
    png = tmp_path / "learning_curve.png"
    plots.plot_learning_curve(str(table), str(png), "title", column="actor/loss", sweep=["eta"])
    assert png.read_bytes().startswith(b"\x89PNG")
