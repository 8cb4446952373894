"""Downloads from a server on this machine: complete, cut off, resumed, wrong."""

import hashlib
import threading
import urllib.error

import numpy as np
import pytest

from edp_jax.data import download
from edp_jax.data.download import Remote, fetch
from edp_jax.types import InputError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE", 0)
    monkeypatch.setattr(download, "_WAIT", 0.01)


def message_of(remote, path) -> str:
    with pytest.raises(InputError) as error:
        fetch(remote, str(path), lambda line: None)
    message = str(error.value)
    assert "\n" not in message and remote.url in message and str(path) in message
    return message


def test_a_file_arrives_whole_and_progress_is_told(tmp_path, serve):
    server, lines, path = serve(CONTENT), [], tmp_path / "new" / "folder" / "a.hdf5"
    fetch(Remote(server.url + "a.hdf5", len(CONTENT), SHA256), str(path), lines.append)
    assert path.read_bytes() == CONTENT and [entry.name for entry in path.parent.iterdir()] == [
        "a.hdf5"
    ]
    assert server.requests == ["/a.hdf5"]
    assert lines[0] == "  a.hdf5: 0.0 MB of 1.0 MB" and lines[-1].startswith(
        "  a.hdf5: 1.0 MB of 1.0 MB, "
    )


def test_a_cut_off_transfer_goes_on_where_it_stopped(tmp_path, serve):
    server = serve(CONTENT, cuts=[300_000, 1, 0, 400_000])
    fetch(Remote(server.url, sha256=SHA256), str(tmp_path / "a"), lambda line: None)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == [
        None,
        "bytes=300000-",
        "bytes=300001-",
        "bytes=300001-",
        "bytes=700001-",
    ]


def test_without_range_the_server_sends_all_again(tmp_path, serve):
    server = serve(CONTENT, cuts=[300_000], with_range=False)
    fetch(Remote(server.url, sha256=SHA256), str(tmp_path / "a"), lambda line: None)
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_a_stopped_download_is_taken_up_by_the_next_command(tmp_path, serve):
    class Stopped(Exception):
        pass

    def stop(line):
        raise Stopped

    server, path = serve(CONTENT, cuts=[300_000]), tmp_path / "a"
    with pytest.raises(Stopped):
        fetch(Remote(server.url, sha256=SHA256), str(path), iter_after(1, stop))
    assert not path.exists() and (tmp_path / "a.part").read_bytes() == CONTENT[:300_000]
    fetch(Remote(server.url, sha256=SHA256), str(path), lambda line: None)
    assert path.read_bytes() == CONTENT and not (tmp_path / "a.part").exists()
    assert server.ranges[-1] == "bytes=300000-"


def iter_after(calls, function):
    """Ignores the first `calls` calls, then calls `function`."""
    left = [calls]

    def progress(line):
        left[0] -= 1
        if left[0] < 0:
            function(line)

    return progress


def test_a_lost_network_leaves_the_part_and_says_so(tmp_path, serve, monkeypatch):
    server, path = serve(CONTENT, cuts=[300_000]), tmp_path / "a"
    urlopen, answered = download.urllib.request.urlopen, []

    def once(*arguments, **keywords):
        if answered:
            raise urllib.error.URLError("no route to host")
        answered.append(True)
        return urlopen(*arguments, **keywords)

    monkeypatch.setattr(download.urllib.request, "urlopen", once)
    message = message_of(Remote(server.url), path)
    assert (
        "no route to host" in message
        and "300,000 bytes are kept and the same command goes on with them" in message
    )
    answered.clear()
    fetch(Remote(server.url, sha256=SHA256), str(path), lambda line: None)
    assert path.read_bytes() == CONTENT


def test_a_connection_that_breaks_before_the_first_byte_leaves_nothing_behind(
    tmp_path, serve, monkeypatch
):
    def broken(*_):
        raise ConnectionResetError("connection reset")

    monkeypatch.setattr(download, "_copy", broken)
    assert "connection reset; try again" in message_of(
        Remote(serve(CONTENT).url), tmp_path / "folder" / "a"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_complete_part_needs_no_more_bytes(tmp_path, serve):
    server = serve(CONTENT)
    (tmp_path / "a.part").write_bytes(CONTENT)
    fetch(Remote(server.url, sha256=SHA256), str(tmp_path / "a"), lambda line: None)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("server", "known", "says"),
    [
        ({"cuts": [300_000, 0, 0, 0]}, {}, "ends early, after 300,000 bytes"),
        ({"cuts": [300_000] * 4, "with_range": False}, {}, "ends early, after 300,000 bytes"),
        ({}, {"sha256": "0" * 64}, f"its sha256 is {SHA256}, not 0000"),
        ({}, {"size": 999_999}, "the server has 1,000,000 bytes, the file should have 999,999"),
        ({"status": 404}, {}, "the server answers 404"),
        ({"status": 503}, {}, "503"),
    ],
)
def test_what_cannot_become_the_file_leaves_nothing_behind(tmp_path, serve, server, known, says):
    message = message_of(Remote(serve(CONTENT, **server).url, **known), tmp_path / "folder" / "a")
    assert says in message and "put the file at" in message
    assert list(tmp_path.iterdir()) == []


def test_a_part_longer_than_the_file_is_removed(tmp_path, serve):
    (tmp_path / "a.part").write_bytes(CONTENT + b"more")
    assert "holds 1,000,004 bytes, more than the server has" in message_of(
        Remote(serve(CONTENT).url), tmp_path / "a"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_server_leaves_nothing_behind(tmp_path, serve):
    with pytest.raises(InputError, match="refused"):
        fetch(
            Remote("http://127.0.0.1:1/a.hdf5"),
            str(tmp_path / "folder" / "a.hdf5"),
            lambda line: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused_before_any_request(tmp_path, serve):
    server = serve(CONTENT)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        InputError, match="cannot be written to; give another one as --config.data_dir"
    ):
        fetch(Remote(server.url), str(tmp_path / "file" / "a"), lambda line: None)
    assert server.requests == []


def test_of_two_that_want_the_same_file_one_waits_for_the_other(tmp_path, serve):
    server, path = serve(CONTENT), tmp_path / "folder" / "a"
    waiting, told = threading.Event(), []

    def tell(line):
        told.append(line)
        waiting.set()

    second = threading.Thread(target=lambda: fetch(Remote(server.url), str(path), tell))

    def start_second(line):
        if not second.ident:
            second.start()
            assert waiting.wait(10)

    fetch(Remote(server.url, sha256=SHA256), str(path), start_second)
    second.join(10)
    assert path.read_bytes() == CONTENT and [entry.name for entry in path.parent.iterdir()] == ["a"]
    assert len(server.requests) == 1 and set(told) == {"  a: another process downloads it, waiting"}


def test_who_waited_for_one_that_failed_tries_himself(tmp_path, serve):
    server, path = serve(CONTENT, cuts=[300_000]), tmp_path / "a"
    waiting = threading.Event()
    second = threading.Thread(
        target=lambda: fetch(
            Remote(server.url, sha256=SHA256), str(path), lambda line: waiting.set()
        )
    )

    def stop(line):
        second.start()
        assert waiting.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(Remote(server.url), str(path), iter_after(1, stop))
    second.join(10)
    assert path.read_bytes() == CONTENT and server.ranges == [
        None,
        "bytes=300000-",
        "bytes=300000-",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]
