"""Fits of two machines, which are two processes of this one, by several launchers.

They are forked, so that what they import is imported once, and otherwise are as launchers start
them; see `test_launching`.
"""

import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

from lightning_fabric.utilities.rank_zero import _get_rank
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import train
from zoo.run import cli  # noqa: F401  # which takes a second to import
from zoo.run.plugins import import_plugins
from zoo.run.record import RunRecord

CONFIG = """
model: {class_path: zoo.DeepFM, init_args: {embedding_dim: 4, hidden_units: [8]}}
data:
  class_path: datamodules.Table
  init_args:
    path: rows.csv
    label: click
    fields: [{name: a, kind: categorical}, {name: b, kind: categorical}]
trainer: {max_epochs: 1, accelerator: cpu, enable_progress_bar: false, logger: false}
"""
ADDRESS = {"MASTER_ADDR": "127.0.0.1"}
# of an object, a trainer cannot be tried out beforehand
OBJECT = '--trainer.strategy={"class_path": "pytorch_lightning.strategies.DDPStrategy"}'
TWO = ["--data.batch_size=32", "--trainer.num_nodes=2", "--trainer.devices=1", OBJECT]
# of torchrun and SLURM, the numbers of machines and processes are taken
TAKEN = ["--data.batch_size=32"]

fork = multiprocessing.get_context("fork")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def rows(path):
    """A table of clicks."""
    numbers = random.Random(0)
    with open(path, "w") as file:
        file.write("click,a,b\n")
        for _ in range(1000):
            a, b = numbers.randrange(20), numbers.randrange(200)
            file.write(f"{int(numbers.random() < 0.2 + 0.5 * (a % 2))},{a},{b}\n")


def command(name, arguments, variables=None):
    """The command line in a process that has been started with these variables."""
    warnings.simplefilter("ignore")
    os.environ.update(variables or {})
    rank_zero_only.rank = _get_rank() or 0  # as where Lightning is imported in this process
    for number, path in ((1, "out"), (2, "said")):
        os.dup2(os.open(f"{name}.{path}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["train.py", "fit", "--config", "c.yaml", "--name", name, *arguments]
    train.main()


def torchrun(name, arguments, machine, port):
    """What the command torchrun does on one of two machines."""
    config = LaunchConfig(
        min_nodes=2,
        max_nodes=2,
        nproc_per_node=1,
        rdzv_backend="static",
        rdzv_endpoint=f"127.0.0.1:{port}",
        rdzv_configs={"rank": machine, "timeout": 100},
        start_method="fork",
        run_id="none",
    )
    elastic_launch(config, command)(name, arguments)


def failing(name, arguments, variables):
    """Of three processes the second is killed in the second epoch, and the third is stuck."""

    def begin(record, trainer, module):
        if trainer.current_epoch == 1 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if trainer.current_epoch == 1 and trainer.global_rank == 2:
            time.sleep(100)

    mock.patch.object(RunRecord, "on_train_epoch_start", begin).start()
    mock.patch("zoo.run.watch.GRACE", 4.0).start()
    command(name, arguments, variables)


def killed():
    """The exit codes of processes of which one is killed, and the seconds until all have ended."""
    address = ADDRESS | {"MASTER_PORT": str(free_port())}
    three = ["--trainer.num_nodes=3", "--trainer.devices=1", "--trainer.max_epochs=3"]
    machines = [address | {"NODE_RANK": str(machine)} for machine in range(3)]
    workers = [fork.Process(target=failing, args=("killed", three, more)) for more in machines]
    for worker in workers:
        worker.start()
    workers[1].join(100)
    since = time.monotonic()
    for worker in workers:
        worker.join(100)
    seconds = time.monotonic() - since
    Path("killed.json").write_text(json.dumps([[w.exitcode for w in workers], seconds]))


def together(name, arguments, variables, target=command):
    """Runs the processes of a launcher."""
    workers = [fork.Process(target=target, args=(name, arguments, *more)) for more in variables]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
        if worker.exitcode != 0:
            for other in workers:
                other.kill()
            sys.exit(f"{name}: {worker.exitcode}\n{Path(f'{name}.said').read_text()}")


def slurm(task):
    """The variables of one of two tasks on two machines."""
    each = {"SLURM_PROCID": task, "SLURM_NODEID": task, "SLURM_LOCALID": 0}
    job = {"SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 1, "SLURM_NNODES": 2, "SLURM_JOB_ID": 7}
    named = {"SLURM_JOB_NAME": "fit", "SLURM_NODELIST": "127.0.0.1"}
    return {name: str(value) for name, value in {**each, **job, **named}.items()}


def main(folder):
    """Fits by one process, and by two machines of each launcher."""
    import_plugins()  # here, once for all processes
    os.chdir(folder)
    rows("rows.csv")
    Path("c.yaml").write_text(CONFIG)
    together("alone", ["--data.batch_size=64"], [()])
    address = ADDRESS | {"MASTER_PORT": str(free_port())}
    machines = [(address | {"NODE_RANK": str(machine)},) for machine in range(2)]
    together("lightning", TWO, machines)
    address = ADDRESS | {"MASTER_PORT": str(free_port())}
    together("slurm", TAKEN, [(address | slurm(task),) for task in range(2)])
    killed()
    port = free_port()
    together("torchrun", TAKEN, [(machine, port) for machine in range(2)], torchrun)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
