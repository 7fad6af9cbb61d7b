"""Kills commands at random moments, repeats them, and compares all that they leave.

    python tests/kills.py --quick    # 6 kills and 2 terminations
    python tests/kills.py            # 100 kills and 20 terminations, in a few minutes

Each trial runs `prepare`, `fit`, `detect`, `predict` or `explain` in a folder of its own, ends it
by SIGKILL or SIGTERM at a moment drawn from its usual duration, and repeats the command (a fit with
`--ckpt_path last.ckpt`, where there is one). What is left then must be that of an undisturbed run:
weights and optimizer to the last bit, files to the last byte, and nothing beside them. Every other
trial has its `TMPDIR` on another file system, where there is one. Commands run in forks of this
process, which has imported everything: a moment falls in their work, not in their imports.
"""

# ruff: noqa: E402  (what is imported lies in the checkout)
import atexit
import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}  # of the processes of a fit too

import numpy as np
import pyarrow.parquet as pq
import torch
from jsonargparse import auto_cli

import datamodules
from datamodules.synthetic.clicks import PlantedClicks
from zoo.data.shard_content import restored
from zoo.glider.surrogates.madex import DETECTORS
from zoo.inspect.checkpoint import read
from zoo.run import cli  # noqa: F401  (so that forks need not)
from zoo.run.main import main

# share of the trials
COMMANDS = {"prepare": 0.2, "fit": 0.4, "detect": 0.15, "predict": 0.15, "explain": 0.1}
TWO = ("--trainer.devices=2",)
SHARED = (*TWO, "--trainer.strategy=sharded")
RUN = "runs/t/version_0"
SHARED_MEMORY = Path("/dev/shm")
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
FIT = [
    *("--config", "criteo/deepfm", "--data.path=../train.txt", "--data.batch_size=64", "--name=t"),
    *("--model.hidden_units=[16]", "--model.embedding_dim=4", "--early_stopping.patience=null"),
    *("--trainer.accelerator=cpu", "--trainer.max_epochs=5", *QUIET),
]
SCORED = ["--config", f"{RUN}/config.yaml", f"--ckpt_path={RUN}/checkpoints/best.ckpt"]
LINES = {
    "prepare": ["prepare", *FIT],
    "fit": ["fit", *FIT],
    "detect": ["detect", *SCORED, "--instances=40", "--permutations=0"],
    "predict": ["predict", *SCORED, "--data.predict_path=../train.txt", *QUIET],
    "explain": ["explain", *SCORED, "--rows=../few.txt", "--output=explained.json"],
}


@dataclass(frozen=True)
class Trial:
    """A command, the signal that ends it, and when, as a share of its usual duration."""

    number: int
    command: str
    signal: signal.Signals
    moment: float
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The command with its options."""
        return " ".join((self.command, *self.options))


def start(folder: Path, line: list[str], temporary: Path) -> int:
    """Starts a command in a fork, as the leader of a group of its own; its process."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        out = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.argv = [str(ROOT / "train.py"), *line]
        main()
        status = 0
    except SystemExit as exit_:
        print(exit_.code, file=sys.stderr)
        status = exit_.code if isinstance(exit_.code, int) else 1
    finally:
        atexit._run_exitfuncs()  # which a fork leaves out
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def wait(process: int) -> int:
    """The exit status of a command; minus the signal that killed it."""
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # the other processes of a fit
    return status


def run(folder: Path, line: list[str], temporary: Path) -> float:
    """Runs a command to its end; its duration in seconds."""
    began = time.monotonic()
    status = wait(start(folder, line, temporary))
    assert status == 0, (folder / "out.txt").read_text()[-3000:]
    return time.monotonic() - began


# What a command leaves


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files below a folder but locks."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def left_by(command: str, folder: Path) -> object:
    """What is compared."""
    if command == "prepare":
        return files_of(folder / "prepared")
    if command == "detect":
        page = (folder / "interactions.html").read_text()
        return hashlib.sha256((folder / "interactions.json").read_bytes()).hexdigest(), page[-8:]
    if command == "explain":  # whose head says which checkpoint they are of
        return json.loads((folder / "explained.json").read_text())["rows"]
    if command == "predict":  # whose files also say which checkpoint they are of
        found = sorted((folder / RUN / "predictions").iterdir())
        return [(path.name, pq.read_table(path).to_pydict()) for path in found]
    newest = max((folder / "runs/t").iterdir(), key=lambda path: int(path.name[8:]))
    metrics = json.loads((newest / "metrics.json").read_text())
    timed = ("seconds", "samples_per_second")
    return (
        {name: value for name, value in metrics.items() if name not in timed},
        [weights(newest / f"checkpoints/{name}.ckpt") for name in ("best", "last")],
        files_of(newest / "encoder"),
    )


def weights(checkpoint: Path) -> str:
    """A digest of all numbers of weights and optimizer."""
    content = restored(read(checkpoint), checkpoint)
    digest = hashlib.sha256(str(content["global_step"]).encode())

    def add(value: object) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add([content["state_dict"], content["optimizer_states"]])
    return digest.hexdigest()


def leftovers(folder: Path) -> list[str]:
    """What nobody will use."""
    found = [*folder.rglob("*.partial"), *(folder / "tmp").iterdir(), *folder.rglob("spill")]
    contents = map(read, folder.rglob("*.ckpt"))
    named = {content["shards"]["folder"] for content in contents if "shards" in content}
    found += [path for path in folder.rglob("*.shards") if path.name not in named]
    return [str(path.relative_to(folder)) for path in found]


# Trials


class Trials:
    """Undisturbed runs, and trials that are compared with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.landed = 0  # trials that were not done before their signal came
        PlantedClicks(rows=4000).write(root / "train.txt")
        with open(root / "train.txt") as rows, open(root / "few.txt", "w") as few:
            few.writelines(islice(rows, 60))
        self.whole, self.seconds = {}, {}
        place = self.place("whole", "prepare")
        for command, line in LINES.items():
            self.seconds[command] = run(place, line, place / "tmp")
            self.whole[command] = left_by(command, place)
        for number, options in enumerate((TWO, SHARED)):
            place, name = self.place(f"two {number}", "fit"), " ".join(("fit", *options))
            self.seconds[name] = run(place, [*LINES["fit"], *options], place / "tmp")
            self.whole[name] = left_by("fit", place)

    def place(self, name: str, command: str) -> Path:
        """A folder in which a command can run: with what comes before it, and no more."""
        place = self.root / name
        (place / "tmp").mkdir(parents=True)
        done = self.root / "whole"
        if command != "prepare":
            shutil.copytree(done / "prepared", place / "prepared")
        if command in ("detect", "predict", "explain"):
            keep = shutil.ignore_patterns("predictions")
            shutil.copytree(done / "runs", place / "runs", ignore=keep)
        return place

    def attempt(self, trial: Trial) -> str | None:
        """What is wrong after a trial; None where nothing is."""
        place = self.place(str(trial.number), trial.command)
        temporary, line = place / "tmp", LINES[trial.command]
        if trial.number % 2 and SHARED_MEMORY.is_dir():
            temporary = Path(tempfile.mkdtemp(dir=SHARED_MEMORY))
        line = [*line, *trial.options]
        try:
            process = start(place, line, temporary)
            time.sleep(trial.moment * self.seconds[trial.name])
            target = -process if trial.signal == signal.SIGKILL else process
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, trial.signal)
            wrong = self._ended(trial, place, temporary, wait(process))
            run(place, [*line, *self._resumed(trial.command, place)], temporary)
            if left_by(trial.command, place) != self.whole[trial.name]:
                wrong = wrong or "differs from the undisturbed run"
            left = leftovers(place) + [str(path) for path in temporary.iterdir()]
            wrong = wrong or (f"left {left}" if left else None)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        if temporary.parent == SHARED_MEMORY:
            shutil.rmtree(temporary)
        if wrong is None:
            shutil.rmtree(place)
        return wrong

    def _ended(self, trial: Trial, place: Path, temporary: Path, status: int) -> str | None:
        self.landed += status != 0
        # of the last, which a shell shows as 143, a process that does not listen yet, or no more
        expected = (0, -9) if trial.signal == signal.SIGKILL else (0, 143, -15)
        if status not in expected:
            return f"ended with {status}"
        for checkpoint in place.rglob("*.ckpt"):
            restored(read(checkpoint), checkpoint)  # what has its name is whole
        left = leftovers(place) if trial.signal == signal.SIGTERM else []
        left = [name for name in left if not name.startswith(".interactions.json.partial")]
        parts = [*place.rglob("*.shards"), *place.rglob("*.shards/*")]
        for path in (*place.rglob("*.partial"), *temporary.glob("*/lock"), *parts):
            os.utime(path, (0, 0))  # as if the command were repeated later
        return f"left {left} at once" if left else None

    def _resumed(self, command: str, place: Path) -> list[str]:
        last = place / RUN / "checkpoints/last.ckpt"
        return ["--ckpt_path", str(last)] if command == "fit" and last.is_file() else []


def drawn(kills: int, terminations: int, seed: int) -> list[Trial]:
    """The trials."""
    random = np.random.default_rng(seed)
    signals = [signal.SIGKILL] * kills + [signal.SIGTERM] * terminations
    names = random.choice(list(COMMANDS), len(signals), p=list(COMMANDS.values()))
    trials = [
        Trial(number, str(name), ended, float(random.uniform(0, 0.95)))
        for number, (name, ended) in enumerate(zip(names, signals, strict=True))
    ]
    # two processes start by importing everything, so that fewer trials take as long
    fits = [trial for trial in trials if trial.command == "fit"]
    two = (*fits[:6], *fits[-4:]) if kills >= 100 else fits[:1]
    several = {trial.number: (SHARED, TWO)[i % 2] for i, trial in enumerate(two)}
    return [
        replace(trial, options=several[trial.number], moment=0.55 + 0.45 * trial.moment)
        if trial.number in several
        else trial
        for trial in trials
    ]


def kills(quick: bool = False, seed: int = 0, jobs: int = 2) -> None:
    """Kill commands, repeat them, and compare what they leave with undisturbed runs.

    Args:
        quick: Whether to try 6 kills and 2 terminations instead of 100 and 20.
        seed: Seed of the commands and moments.
        jobs: Number of trials at a time.
    """
    networks = {name: replace(found, hidden_units=(32, 16)) for name, found in DETECTORS.items()}
    DETECTORS.update(networks)  # a detection of seconds
    root = Path(tempfile.mkdtemp(prefix="kills-"))
    trials = Trials(root)
    print({name: round(seconds, 2) for name, seconds in trials.seconds.items()}, flush=True)
    chosen = drawn(6, 2, seed) if quick else drawn(100, 20, seed)
    wrong = []
    with ThreadPoolExecutor(jobs) as pool:
        for trial, found in zip(chosen, pool.map(trials.attempt, chosen), strict=True):
            if found is not None:
                wrong.append(trial)
                print(f"{trial}: {found} (in {root / str(trial.number)})", flush=True)
    count = sum(trial.signal == signal.SIGKILL for trial in chosen)
    print(
        f"{count} kills, {len(chosen) - count} terminations, of which {trials.landed} came before "
        f"the command was done: {len(wrong)} left something else"
    )
    if wrong:
        sys.exit(1)
    shutil.rmtree(root)


if __name__ == "__main__":
    assert datamodules.Criteo
    auto_cli(kills)
