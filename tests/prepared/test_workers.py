"""Processes that do tasks, and Ray, of which a module has the few functions that are called."""

import logging
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from support.calls import refuse, sleep_long
from support.tasks import is_alive

from datamodules.prepared.workers import Processes, RayTasks
from zoo.data.errors import ZooError

TESTS = Path(__file__).parents[1]


def test_processes_give_results_as_they_end():
    with Processes(2) as workers:
        assert sorted(workers.run(operator.add, [(1, 2), (3, 4), (5, 6)])) == [
            (0, 3),
            (1, 7),
            (2, 11),
        ]
        assert {found for _, found in workers.run(os.getpid, [()] * 4)} != {os.getpid()}
        with pytest.raises(ZooError, match="batch_size must be at least 1, got 0"):
            list(workers.run(refuse, [()]))


def test_memory_and_processors_are_shared():
    workers = Processes(3)
    assert workers.share == 3
    assert workers.threads == max(os.cpu_count() // 3, 1)


def test_a_process_that_is_killed_is_reported_in_one_sentence():
    expected = "^a process of data.workers=1 was killed: what is finished is kept, and the repeated"
    with pytest.raises(ZooError, match=expected), Processes(1) as workers:
        list(workers.run(os._exit, [(9,)]))


def test_ctrl_c_ends_the_processes(tmp_path):
    def interrupt():
        while not (tmp_path / "1").exists() or not (tmp_path / "1").read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    started = time.monotonic()
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), Processes(1) as workers:
        list(workers.run(sleep_long, [(tmp_path / "1",)]))
    assert time.monotonic() - started < 100
    assert not is_alive(int((tmp_path / "1").read_text()))


DRIVER = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from support.calls import sleep_long
from datamodules.prepared.workers import Processes
if __name__ == "__main__":
    with Processes(1) as workers:
        list(workers.run(sleep_long, [({path!r},)]))
"""


def test_processes_end_with_the_one_that_started_them(tmp_path):
    path = tmp_path / "sleeps"
    names = {"tests": str(TESTS), "root": str(TESTS.parent), "path": str(path)}
    (tmp_path / "driver.py").write_text(DRIVER.format(**names))
    line = [sys.executable, str(tmp_path / "driver.py")]
    driver = subprocess.Popen(line, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    while is_alive(int(path.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Ray


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class FakeRay(types.ModuleType):
    """The functions of Ray that are called; a call is done when its result is asked for."""

    def __init__(self, lost=()):
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.log, self.lost = [], lost

    def is_initialized(self):
        return False

    def init(self, **options):
        self.log.append(("init", options))

    def shutdown(self):
        self.log.append("shutdown")

    def remote(self, **options):
        self.log.append(("remote", options))

        def made(function):
            def submit(*call):
                self.log.append(call)
                return object.__new__(type("Ref", (), {"call": (function, *call)}))

            return types.SimpleNamespace(remote=submit)

        return made

    def wait(self, references, num_returns):
        return references[-num_returns:], references[:-num_returns]  # the last one is first

    def get(self, reference):
        function, *call = reference.call
        if call[2] in self.lost:
            raise RayError("the node died")
        return function(*call)

    def cancel(self, reference, force):
        self.log.append("cancel")


@pytest.fixture
def fake_ray(monkeypatch):
    def make(**options):
        ray = FakeRay(**options)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setattr("datamodules.prepared.workers.find_spec", lambda name: ray)
        return ray

    return make


def test_ray_gives_results_as_they_end(fake_ray):
    ray = fake_ray()
    with RayTasks() as workers:
        found = list(workers.run(operator.add, [(1, 2), (3, 4)]))
    assert found == [(1, 7), (0, 3)]
    # it looks at RAY_ADDRESS itself
    assert ray.log[0] == ("init", {"log_to_driver": False, "logging_level": logging.WARNING})
    assert ray.log[1] == ("remote", {"num_cpus": 1, "max_retries": 1})
    assert ray.log[2] == (os.getcwd(), operator.add, (1, 2))  # paths may be relative
    assert ray.log[-1] == "shutdown"


def test_a_mistake_of_the_user_comes_back_from_ray_as_it_is(fake_ray):
    ray = fake_ray()
    with pytest.raises(ZooError, match=r"^data.batch_size must be"), RayTasks() as workers:
        list(workers.run(refuse, [(), ()]))
    assert ray.log.count("cancel") == 2


def test_a_lost_worker_of_ray_is_reported_in_one_sentence(fake_ray):
    fake_ray(lost=[(1, 2)])
    with (
        pytest.raises(
            ZooError, match=r"^a worker of Ray was killed, twice \(the node died\): what"
        ),
        RayTasks() as workers,
    ):
        list(workers.run(operator.add, [(1, 2)]))


def test_a_machine_without_the_folder_is_reported(fake_ray, tmp_path, monkeypatch):
    fake_ray()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with RayTasks() as workers:
        calls = workers.run(operator.add, [(1, 2)])
        monkeypatch.setattr("os.getcwd", lambda: str(tmp_path / "elsewhere"))
        with pytest.raises(ZooError, match="elsewhere is not there on one of the machines that"):
            list(calls)


def test_a_full_disk_of_a_machine_is_reported(fake_ray):
    fake_ray()
    with (
        RayTasks() as workers,
        pytest.raises(ZooError, match=r"^/none/here: No such file or direc"),
    ):
        list(workers.run(os.rmdir, [("/none/here",)]))


def test_no_cluster_answers(fake_ray, monkeypatch):
    ray = fake_ray()
    monkeypatch.setattr(ray, "init", lambda **_: operator.truediv(1, 0))
    with pytest.raises(ZeroDivisionError), RayTasks():
        pass

    def init(**_):
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    expected = (
        r"no cluster of Ray answers \(RAY_ADDRESS is not set\): Could not find any running Ray"
    )
    with pytest.raises(ZooError, match=expected), RayTasks():
        pass


def test_an_address_at_which_nobody_answers(fake_ray, monkeypatch):
    """Ray itself would try for minutes."""
    ray = fake_ray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        for given in (address, f"ray://{address}"):
            monkeypatch.setenv("RAY_ADDRESS", given)
            with RayTasks():
                pass
    expected = rf"^no cluster of Ray answers \(RAY_ADDRESS is ray://{address}\): .*refused"
    with pytest.raises(ZooError, match=expected), RayTasks():
        pass
    assert [entry for entry in ray.log if entry != "shutdown"] == [ray.log[0]] * 2


def test_ray_is_an_extra(monkeypatch):
    monkeypatch.setattr("datamodules.prepared.workers.find_spec", lambda name: None)
    with pytest.raises(
        ZooError, match=r"data.workers=ray needs the package ray: pip install 'inter"
    ):
        RayTasks()
