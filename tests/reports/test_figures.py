"""What the figures of a report draw, read from the lines themselves."""

import numpy as np
import pytest

from edp_jax.reports import figures, groups, looks, results

pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra plots")


def read(*folders):
    return groups.make_groups(results.read_runs(map(str, folders))[0])[0]


def lines(axes):
    """The thin and the thick lines."""
    every = axes.get_lines()
    thick = max(line.get_linewidth() for line in every)
    return [[x for x in every if (x.get_linewidth() == thick) == wide] for wide in (False, True)]


def test_the_thick_curve_is_of_the_seeds_that_count(write_run):
    """(10 + 30) / 2 and (20 + 40) / 2, without the diverged one and the one with a result less."""
    critic = [[1, 1, 1], [1, 1, np.nan]]
    sound = write_run("a", [[10, 30, 900], [20, 40, 900]], critic=critic)
    killed = write_run("b", [[500]], seeds=(3,), num_steps=20)
    nothing = write_run("c", [[np.nan], [np.nan]], seeds=(4,))
    found = read(sound, killed, nothing)
    picture = figures.learning_curves("hopper", found, looks.styles(found))
    thin, (thick,) = lines(picture.figure.axes[0])
    assert thick.get_ydata().tolist() == [20.0, 30.0]
    assert [line.get_ydata()[0] for line in thin] == [10.0, 30.0, 900.0, 500.0]
    assert [[result.seed for result in seeds] for seeds in picture.shown] == [[0, 1, 2, 3]]


def test_a_learner_without_a_thick_curve_is_in_the_legend(write_run):
    found = read(write_run("a", [[1.0]], num_steps=20))
    picture = figures.learning_curves("hopper", found, looks.styles(found))
    (legend,) = picture.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["edp_td3"]


def test_bars_end_where_the_intervals_end(write_run):
    found = read(write_run("a", [[10.0, 20.0, 30.0]]))
    bar, _ = figures.interquartile_means(found, looks.styles(found)).figure.axes[0].get_lines()
    assert bar.get_solid_capstyle() == "butt"


def test_long_names_are_cut_and_told_apart(write_run):
    folders = [
        write_run(str(calls), [[1.0]], sampler_calls=calls, hidden_dims=[32] * 12)
        for calls in (3, 4)
    ]
    styles = looks.styles(read(*folders, write_run("plain", [[1.0]])))
    names = [style.name for style in styles.values()]
    cut = "edp_td3 hidden_dims=(32,32,32,32,32,32,32,..."
    assert names == ["edp_td3", f"{cut} #1", f"{cut} #2"]
    assert list(styles)[2].endswith(" sampler_calls=4")


def test_thin_lines_can_be_seen_on_black(write_run):
    """A contrast of 3 to the dark page (WCAG 2.1, 1.4.11)."""

    def luminance(color):
        linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    page = np.array([0x14, 0x17, 0x1B]) / 255
    runs = [write_run(str(n), [[1.0]], sampler_calls=n) for n in range(1, 11)]
    for style in looks.styles(read(*runs)).values():
        color = np.array([int(style.color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        drawn = looks.SEED_OPACITY * color + (1 - looks.SEED_OPACITY) * page
        assert (luminance(drawn) + 0.05) / (luminance(page) + 0.05) > 3
