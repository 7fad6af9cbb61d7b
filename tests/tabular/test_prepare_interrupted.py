"""Preparation that is killed, or whose disk is full."""

import errno
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
from support.interruption import killed, killed_in_the_manifest, limit_files, processes, run_process
from support.preparation import assert_same, prepared, ready

from datamodules import Criteo, SyntheticCriteo
from datamodules.prepared.folder import Manifest
from datamodules.synthetic.click_truth import CARDINALITIES
from datamodules.synthetic.clicks import PlantedClicks
from datamodules.tabular.prepare import prepare
from zoo.data.errors import ZooError


def prepare_and_die(path, prepared, step, death):
    with mock.patch(step, death):
        Criteo(path, prepared=prepared).prepare_data()


def prepare_after_signal(path, prepared, ready):
    datamodule = Criteo(path, prepared=prepared)
    ready.set()
    datamodule.prepare_data()


def prepare_at_once(path, prepared, synthetic, barrier, counts):
    few = tuple(min(n, 3000) for n in CARDINALITIES)  # to be quick
    barrier.wait(60)
    with (
        mock.patch("datamodules.synthetic.click_truth.CARDINALITIES", few),
        mock.patch("datamodules.tabular.module.prepare", wraps=prepare) as work,
    ):
        made = {"synthetic": synthetic} if synthetic else {}
        (SyntheticCriteo if made else Criteo)(path, prepared=prepared, **made).prepare_data()
    counts.put(work.call_count)


def prepare_with_small_files(path, prepared, size, messages):
    """Prepares on a disk that is full."""
    limit_files(size)
    try:
        Criteo(path, prepared=prepared).prepare_data()
    except ZooError as error:
        messages.put(str(error))


@pytest.fixture
def small(make_file, criteo_lines, tmp_path):
    """(raw file, prepared folder) as text."""
    return str(make_file(criteo_lines)), str(tmp_path / "prepared")


STEPS = {
    "before reading": ("datamodules.tabular.tasks.read_rows", killed),
    "after reading": ("datamodules.tabular.tasks.fit_vocabulary", killed),
    "before the arrays": ("datamodules.tabular.tasks.write_arrays", killed),
    "in the arrays": ("datamodules.prepared.arrays.ArraysWriter.write", killed),
    "after the arrays": ("datamodules.tabular.prepare.checksums", killed),
    "before the manifest": ("datamodules.prepared.folder.Manifest.save", killed),
    "in the manifest": ("datamodules.prepared.folder.Manifest.save", killed_in_the_manifest),
    "before the name": ("zoo.data.files.os.replace", killed),
}


@pytest.mark.parametrize("moment", STEPS)
def test_killed_preparation_is_not_taken_for_whole(small, prepared_lines, moment):
    path, folder = small
    assert run_process(prepare_and_die, path, folder, *STEPS[moment]) == -signal.SIGKILL
    datamodule = Criteo(path, prepared=folder)
    assert not datamodule.folder.exists()
    ready(datamodule).setup("fit")
    assert_same(prepared(datamodule), prepared_lines)
    assert [p for p in Path(folder).iterdir() if p.name.endswith(".partial")] == []


def test_killed_at_any_time_leaves_nothing_or_all(criteo_file, tmp_path, prepared_criteo):
    datamodule = Criteo(str(criteo_file), prepared=str(tmp_path / "prepared"))
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5):
        ready = processes.Event()
        process = processes.Process(
            target=prepare_after_signal, args=(str(criteo_file), str(tmp_path / "prepared"), ready)
        )
        process.start()
        assert ready.wait(60)
        time.sleep(delay)
        process.kill()
        process.join()
        process.close()
        if datamodule.folder.exists():
            Manifest.load(datamodule.folder).verify(datamodule.folder)
            shutil.rmtree(datamodule.folder)
    assert_same(prepared(datamodule), prepared_criteo[1])


@pytest.mark.parametrize("synthetic", [None, PlantedClicks(rows=3000)], ids=["raw", "generated"])
def test_two_processes_at_once_make_one_folder(small, tmp_path, synthetic):
    path, folder = small
    path = str(tmp_path / "generated.txt") if synthetic else path
    barrier, counts = processes.Barrier(2), processes.SimpleQueue()
    started = [
        processes.Process(target=prepare_at_once, args=(path, folder, synthetic, barrier, counts))
        for _ in range(2)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]
    assert sorted([counts.get(), counts.get()]) == [0, 1]
    assert len([p for p in Path(folder).iterdir() if p.is_dir()]) == 1


def test_ctrl_c_leaves_no_folder(criteo, criteo_lines, tmp_path):
    with (
        mock.patch("datamodules.prepared.arrays.ArraysWriter.write", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        prepared(criteo(criteo_lines))
    assert [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()] == []


def test_ctrl_c_stops_a_long_query(engine):
    started = time.monotonic()
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        engine.run("SELECT sum(a.range * b.range) FROM range(10000000) a, range(1000) b")
    assert time.monotonic() - started < 8


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_reported(criteo, criteo_lines):
    with (
        mock.patch("datamodules.prepared.arrays.ArraysWriter.write", side_effect=FULL),
        pytest.raises(ZooError, match=r"cannot write .*criteo-.*: No space left on device"),
    ):
        prepared(criteo(criteo_lines))


def test_a_full_disk_leaves_no_folder(criteo, criteo_lines, tmp_path):
    with (
        mock.patch("datamodules.prepared.arrays.ArraysWriter.write", side_effect=FULL),
        pytest.raises(ZooError),
    ):
        prepared(criteo(criteo_lines))
    assert [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()] == []


@pytest.mark.parametrize("size", [0, 1000, 20_000])
def test_writes_that_fail_are_reported(small, size):
    path, folder = small
    messages = processes.SimpleQueue()
    assert run_process(prepare_with_small_files, path, folder, size, messages) == 0
    assert re.search("cannot write|writing failed", messages.get())
    assert [p for p in Path(folder).iterdir() if p.is_dir()] == []
