"""The command line: repeated flags, and streams that nobody reads."""

import io
import os

import pytest

from experiments import launch


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["--config.hidden_dims=(16,16)", "--config.hidden_dims=(8,8)"], [1]),
        (["--config.a=1", "--config.b=2", "--config.a=3"], [1, 2]),
        (["--config.sweep.eta=(1,)", "--config.eta=2", "-config.sweep.eta=(3,)"], [1, 2]),
        (["--config=a.py", "--workdir=x", "--config.flag", "--config.other"], [0, 1, 2, 3]),
    ],
)
def test_the_last_value_of_a_key_counts(typed, kept):
    assert launch.last_of_each(typed) == [typed[index] for index in kept]


def test_a_value_may_stand_behind_its_flag():
    typed = ["--config.seeds", "(0,1)", "--config.shift", "-1", "--config.seeds", "(2,)", "rest"]
    expected = ["--config.shift=-1", "--config.seeds=(2,)", "rest"]
    assert launch.last_of_each(typed) == expected


def test_a_stream_without_a_reader_costs_nothing():
    reader, writer = os.pipe()
    with open(writer, "w", encoding="ascii") as pipe:
        stream = launch.Lasting(pipe)
        print("before", file=stream, flush=True)
        assert os.read(reader, 100) == b"before\n"
        os.close(reader)
        for _ in range(3):
            print("lost", file=stream, flush=True)
        assert not stream.isatty()


def test_a_stream_escapes_what_its_encoding_lacks():
    raw = io.BytesIO()
    stream = launch.Lasting(io.TextIOWrapper(raw, encoding="ascii"))
    print("caf\u00e9 \u2713", file=stream, flush=True)
    assert raw.getvalue() == b"caf\\xe9 \\u2713\n"


def test_a_closed_stream_takes_everything():
    assert launch.Lasting(None).write("lost") == 4
