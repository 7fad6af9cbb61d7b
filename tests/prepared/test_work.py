"""Tasks whose results are kept."""

import json
import os
import time

import pytest
from filelock import FileLock
from support.tasks import Here

from datamodules.prepared import work
from datamodules.prepared.engine import Engine
from datamodules.prepared.folder import build_once
from datamodules.prepared.work import Alone, Kept
from zoo.data.errors import ZooError


def double(engine, folder, number, log):
    """A task, which notes that it is done."""
    log.append(number)
    (folder / "made").write_text(str(engine.run(f"SELECT 2 * {number}")[0][0]))
    if number < 0:
        raise ZooError(f"{number} is negative")
    return {"doubled": 2 * number}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Runs the task for numbers, by workers that are interrupted after some of them."""

    def run(numbers, stop=None):
        log = []
        monkeypatch.setattr(work, "Processes", lambda workers: Here(workers, stop))
        with (
            Engine(tmp_path / "engine", "100MB") as engine,
            Kept(tmp_path / ".t.work", engine, 2) as tasks,
        ):
            try:
                found = tasks.run("double", double, [(n, log) for n in numbers])
                said = f"double {len(numbers)} of {len(numbers)}"
                assert [bar.description for bar in engine.progress.tasks] == [said]
                return found, log
            except (ZooError, KeyboardInterrupt):
                return None, log

    return run


def test_finished_tasks_are_not_done_again(kept, tmp_path):
    assert kept([1, 2, 3], stop=2) == (None, [1, 2])
    found, log = kept([1, 2, 3])
    assert log == [3]
    assert [result for _, result in found] == [{"doubled": n} for n in (2, 4, 6)]
    assert [(at / "made").read_text() for at, _ in found] == ["2", "4", "6"]
    assert [at for at, _ in found] == [tmp_path / f".t.work/double-0000{i}" for i in range(3)]
    (tmp_path / "other").mkdir()
    assert found[0][0].stat().st_mode == (tmp_path / "other").stat().st_mode  # by the umask


def test_one_process_gives_the_same(kept, tmp_path):
    with Engine(tmp_path / "alone", "100MB") as engine:
        alone = Alone(engine).run("double", double, [(n, []) for n in (1, 2)])
    assert [result for _, result in alone] == [result for _, result in kept([1, 2])[0]]


def test_a_task_that_fails_leaves_nothing(kept, tmp_path):
    assert kept([1, -1, 2]) == (None, [1, -1])
    assert [path.name for path in (tmp_path / ".t.work").iterdir()] == ["double-00000"]


def test_what_a_killed_task_left_is_removed_and_never_taken(kept, tmp_path):
    half = tmp_path / ".t.work/.double-00000.abc.partial"
    half.mkdir(parents=True)
    (half / "result.json").write_text('{"result": 7}')
    (tmp_path / ".t.work/double-00001").mkdir()  # without a result, which none leaves
    (tmp_path / ".t.work/double-00002").mkdir()
    (tmp_path / ".t.work/double-00002/result.json").write_text('{"result": ')
    found, log = kept([1, 2, 3])
    assert log == [1, 2, 3]
    assert [result["doubled"] for _, result in found] == [2, 4, 6]
    assert not half.exists()


def test_a_task_that_another_process_finished_meanwhile(tmp_path, monkeypatch):
    """As one of a command that was killed does, while it is repeated."""
    (tmp_path / "w").mkdir()

    def slow(engine, folder):
        (tmp_path / "w/slow-00000").mkdir()
        (tmp_path / "w/slow-00000/result.json").write_text(json.dumps({"result": "other"}))
        return "mine"

    assert work.do(slow, tmp_path / "w/slow-00000", ("100MB", 1, 1), ()) == {"result": "other"}
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["slow-00000"]


def test_storage_that_is_not_shared_is_reported(tmp_path):
    with pytest.raises(ZooError, match=r"w is not there on one of the machines that prepare"):
        work.do(double, tmp_path / "w/double-00000", ("100MB", 1, 1), (1, []))


def test_work_ends_with_the_folder_it_was_for(tmp_path):
    (tmp_path / ".t.work/read-00000").mkdir(parents=True)
    (tmp_path / ".u.work").mkdir()
    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path / "t", interrupted)
    assert (tmp_path / ".t.work/read-00000").exists()
    assert build_once(tmp_path / "t", lambda partial: None)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == [".u.work", "t"]
    (tmp_path / ".t.work").mkdir()  # of a command that was killed at its end
    assert not build_once(tmp_path / "t", lambda partial: None)
    assert not (tmp_path / ".t.work").exists()


def interrupted(partial):
    raise KeyboardInterrupt


def test_old_work_that_nobody_does_is_removed(kept, tmp_path):
    week = time.time() - 8 * 24 * 3600
    for name in (".old.work", ".done-now.work", ".new.work"):
        (tmp_path / name / "read-00000").mkdir(parents=True)
    for name in (".old.work", ".done-now.work"):
        os.utime(tmp_path / name, (week, week))
    with FileLock(tmp_path / "done-now.lock"):
        kept([1])
    names = sorted(path.name for path in tmp_path.glob(".*.work"))
    assert names == [".done-now.work", ".new.work", ".t.work"]


def share(engine, folder):
    """A task that says how much memory it has."""
    return engine.run("SELECT current_setting('memory_limit')")[0][0]


def test_workers_that_have_nothing_to_do_take_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(work, "Processes", lambda workers: Here(workers, None))
    given = {}
    for workers in (2, 1000):
        with (
            Engine(tmp_path / f"engine {workers}", "100MB") as engine,
            Kept(tmp_path / f".{workers}.work", engine, workers) as tasks,
        ):
            tasks.executor.share = workers
            given[workers] = [said for _, said in tasks.run("share", share, [(), ()])]
    assert given[1000] == given[2]
