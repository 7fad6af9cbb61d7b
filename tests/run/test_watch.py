"""Processes that watch each other, here threads with connections of their own."""

import socket
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from zoo.run.mistakes import ProcessLost, sentence_of
from zoo.run.watch import Watch, _accepted, _connected, _server

GLOO = RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer")


class Processes:
    """Watches of three processes, on machines of two each.

    Attributes:
        left: The exit status of those that were ended.
    """

    def __init__(self, monkeypatch, last=None):
        self.told, self.left = None, []
        self.broadcast = threading.Barrier(3)
        monkeypatch.setattr("zoo.run.watch.GRACE", 0.2)
        monkeypatch.setattr("os._exit", lambda code: self.left.append(code))
        self.watches = [Watch(last if rank == 0 else None) for rank in range(3)]
        ranks = [threading.Thread(target=self.begin, args=(rank,)) for rank in range(3)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(20)

    def begin(self, rank):
        def broadcast(value):
            self.told = value if rank == 0 else self.told
            self.broadcast.wait(20)
            return self.told

        places = {"global_rank": rank, "local_rank": rank % 2, "node_rank": rank // 2}
        environment = SimpleNamespace(main_address="127.0.0.1")
        strategy = SimpleNamespace(broadcast=broadcast, cluster_environment=environment)
        trainer = SimpleNamespace(world_size=3, strategy=strategy, **places)
        self.watches[rank].setup(trainer, None, "fit")

    def wait(self, count):
        """Until so many have been ended."""
        until = time.monotonic() + 20
        while len(self.left) < count and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)  # or more than these


@pytest.fixture
def three(monkeypatch, tmp_path):
    (tmp_path / "last.ckpt").touch()
    before = threading.active_count()
    made = Processes(monkeypatch, tmp_path / "last.ckpt")
    yield made
    for watch in made.watches:
        watch.teardown(None, None, "fit")
    while threading.active_count() > before:  # which close their connections
        time.sleep(0.01)


def vanish(watch):
    """What the system does for a process that is killed: its connections end without a word."""
    watch._leaving.set()  # it does nothing more itself
    for peer in watch._peers.values():
        with suppress(OSError):  # it is closed already
            peer.shutdown(socket.SHUT_RDWR)


def test_one_process_says_that_another_has_vanished(three, capsys, tmp_path):
    vanish(three.watches[2])
    three.wait(2)
    assert three.left == [1, 1]
    said = capsys.readouterr().err.splitlines()
    go_on = f"; to go on, repeat the command with --ckpt_path {tmp_path / 'last.ckpt'}"
    assert said == [
        f"error: process 3 of 3 has ended at once, as by `kill -9` or a lack of memory{go_on}"
    ]
    reason = three.watches[1].reason(GLOO)
    assert isinstance(reason, ProcessLost)
    assert f"error: {reason}" == said[0]
    assert three.watches[1].reason(ValueError("of its own")) is None


def test_where_the_first_is_lost_each_machine_says_so(three, capsys):
    vanish(three.watches[0])
    three.wait(2)
    said = capsys.readouterr().err.splitlines()
    assert ["process 1 of 3 has ended at once" in line for line in said] == [True, True]


def test_a_process_that_fails_says_so_to_the_others(three, capsys):
    three.watches[1].on_exception(None, None, ValueError("of its own"))
    three.wait(2)
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: process 2 of 3 has failed; to go on, repeat the command with")
    assert three.left == [1, 1]


def test_where_all_fail_alike_none_is_blamed(three, capsys):
    for watch in three.watches:
        watch.on_exception(None, None, ValueError("the training diverged"))
    three.wait(0)
    assert (capsys.readouterr().err, three.left) == ("", [])


def test_those_who_have_done_their_work_leave_in_peace(three, capsys):
    for watch in three.watches[::-1]:
        watch.teardown(None, None, "fit")
        time.sleep(0.05)
    three.wait(0)
    assert (capsys.readouterr().err, three.left) == ("", [])
    assert three.watches[0].reason(GLOO) is None


def test_an_interrupted_process_ends_the_others_in_silence(three, capsys):
    three.watches[0].on_exception(None, None, KeyboardInterrupt())
    three.wait(2)
    assert (capsys.readouterr().err, three.left) == ("", [143, 143])


def test_a_lost_connection_whose_reason_is_not_known():
    said = sentence_of(GLOO)
    assert said == f"a process has ended, or cannot be reached by the others: {GLOO}"


def test_strangers_are_not_listened_to():
    server = _server("10.0.0.1")  # on all addresses, as others come from other machines
    port = server.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"nonsense 1\n")
        with _connected("127.0.0.1", port, "secret 1") as mine:
            (rank, peer), *others = _accepted(server, 1, "secret").items()
            with peer:
                assert (rank, others) == (1, [])
                assert peer.getpeername()[1] == mine.getsockname()[1]


def test_processes_that_cannot_watch_each_other_say_so_and_go_on(monkeypatch, capsys):
    def refused(*_):
        raise TimeoutError("timed out")

    monkeypatch.setattr("zoo.run.watch._connected", refused)
    monkeypatch.setattr("zoo.run.watch.CONNECTING", 0.1)
    three = Processes(monkeypatch)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert all(line.startswith("processes cannot watch each other (127.0.0.1, ") for line in said)
    three.watches[1].on_exception(None, None, GLOO)
    for watch in three.watches:
        watch.teardown(None, None, "fit")
    assert three.left == []
