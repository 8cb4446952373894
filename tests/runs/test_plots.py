"""The learning curve of a run: what is drawn, not how."""

import builtins
import os

import numpy as np
import pytest

from edp_jax import InputError
from edp_jax.runs import plots


def lines_of(axes) -> dict[str, list]:
    """Vertical values of the lines that the legend names."""
    handles, labels = axes.get_legend_handles_labels()
    return {label: list(handle.get_ydata()) for handle, label in zip(handles, labels, strict=True)}


def test_a_panel_has_a_curve_per_point_of_the_sweep(make_run, episode_lines):
    """Scores (t + 100 r + e) / 10, averaged over two episodes."""
    (panel,) = plots.panels(make_run(episode_lines((10, 20))), behaviour=4.0)
    assert (panel.label, panel.reference) == ("Normalised score", 4.0)
    assert [curve.label for curve in panel.curves] == ["eta 0.5", "eta 2.0"]
    np.testing.assert_allclose(panel.curves[0].values, [[1.05, 11.05], [2.05, 12.05]])
    np.testing.assert_allclose(panel.curves[1].values, [[21.05, 31.05], [22.05, 32.05]])

    (axes,) = plots.draw("a title", [panel]).axes
    lines = lines_of(axes)
    np.testing.assert_allclose(lines["eta 0.5"], [6.05, 7.05])  # means over the seeds
    np.testing.assert_allclose(lines["eta 2.0"], [26.05, 27.05])
    assert lines["dataset's behaviour policy"] == [4.0, 4.0]
    assert axes.get_title(loc="left") == "a title" and axes.get_ylabel() == "Normalised score"
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1.05, 12.05)
    assert {10, 20} == set(axes.lines[-2].get_xdata())


@pytest.mark.parametrize(("seeds", "label"), [((3,), "1 seed"), ((3, 4), "mean of 2 seeds")])
def test_without_a_sweep_the_curve_is_named_by_its_seeds(
    make_run, run_record, episode_lines, seeds, label
):
    members = [{"seed": seed} for seed in seeds]
    lines = episode_lines((10,), members, scored=False)
    (panel,) = plots.panels(make_run(lines, record=run_record(members)))
    assert panel.label == "Return" and panel.reference is None
    (curve,) = panel.curves
    assert curve.label.startswith(label)
    np.testing.assert_allclose(curve.values, [[10.5, 110.5][: len(seeds)]])


def test_without_evaluations_every_loss_is_drawn(make_run, metric_lines):
    panels = plots.panels(make_run(metrics=metric_lines), behaviour=4.0)
    assert [panel.label for panel in panels] == ["actor/loss", "critic/loss"]
    np.testing.assert_array_equal(panels[0].curves[1].values, [[7, 8], [12, 13]])
    first, second = plots.draw("title", panels).axes
    assert lines_of(first)["eta 2.0"] == [7.5, 12.5] and lines_of(second)["eta 0.5"] == [10, 20]


def test_an_online_run_has_a_mark_where_it_left_the_data(make_online_run):
    (panel,) = plots.panels(make_online_run((10, 20)))
    (axes,) = plots.draw("title", [panel]).axes
    handles, labels = axes.get_legend_handles_labels()
    assert list(handles[labels.index("from here on in the environment")].get_xdata()) == [10, 10]
    (panel,) = plots.panels(make_online_run((10,)))  # it has not left them yet
    (axes,) = plots.draw("title", [panel]).axes
    assert "from here on in the environment" not in axes.get_legend_handles_labels()[1]


def test_a_run_without_rows_has_no_panels(make_run):
    assert plots.panels(make_run()) == []


def test_a_notebooks_backend_does_not_matter(make_run, metric_lines, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://not_there")
    figure = plots.draw("title", plots.panels(make_run(metrics=metric_lines)))
    plots.write(figure, str(tmp_path / "curve.png"))
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert os.environ["MPLBACKEND"] == "module://not_there"


def test_without_matplotlib_one_line_names_the_extra(make_run, metric_lines, monkeypatch):
    def without(name, *arguments, real=builtins.__import__):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"learning_curve.png: .*; pip install -e '.\[plots\]'"):
        plots.draw("title", plots.panels(make_run(metrics=metric_lines)))
