"""Options of the trainer: what is refused, what is logged where, which processes are used."""

import json
from pathlib import Path
from unittest import mock

import pytest
import pytorch_lightning as pl
import yaml
from pytorch_lightning.utilities import rank_zero_only
from support.fitting import arguments, fit
from support.running import command, error_of

from zoo import ZooError
from zoo.models.base import ZooModule
from zoo.run.checkpoint_io import AtomicCheckpointIO
from zoo.run.directory import rank_of_process
from zoo.run.launch import check_launched, take_launched
from zoo.run.record import RunRecord
from zoo.run.trainer import ZooTrainer

pytestmark = pytest.mark.usefixtures("prepared_rows")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("strategy=ddpp", "trainer.strategy: no strategy ddpp; did you mean ddp?"),
        ("strategy=zzz", "trainer.strategy: no strategy zzz; there are auto, "),
        ("accelerator=cpuu", "trainer.accelerator: no accelerator cpuu; did you mean cpu?"),
        ("precision=bf15-mixed", "trainer.precision: no precision bf15-mixed; did you mean bf16-"),
        ("precision=half", "trainer.precision: no precision half; there are 16, 16-mixed, "),
        ("profiler=simpel", "trainer.profiler: no profiler simpel; did you mean simple?"),
        ("strategy=fsdp", "trainer.accelerator=cpu, trainer.strategy=fsdp: "),
        ("devices=0", "trainer.accelerator=cpu, trainer.devices=0: `Trainer(devices='0')` value"),
        ("barebones=true", "trainer.barebones is true: fit keeps best.ckpt, which it measures"),
        ("enable_checkpointing=false", "trainer.enable_checkpointing is false: fit keeps best"),
        ("accumulate_grad_batches=0", "trainer.accumulate_grad_batches must be positive, got 0"),
        ("check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch must be positive, got 0"),
        ("val_check_interval=0", "trainer.val_check_interval must be positive, got 0"),
        ("limit_val_batches=1.5", "trainer.limit_val_batches=1.5: You have passed invalid value"),
    ],
)
def test_what_makes_no_trainer_is_refused_before_data_are_read(option, message):
    given = arguments("fit", "no such file", f"--trainer.{option}")
    assert error_of(*given).startswith(f"error: {message}")
    assert not Path("runs").exists()


def test_a_gpu_that_is_not_there(criteo_file):
    with mock.patch("torch.cuda.is_available", return_value=False):
        message = error_of(*arguments("fit", criteo_file), "--trainer.accelerator=cuda")
    assert message.startswith("error: trainer.accelerator=cuda: ")
    assert not Path("runs").exists()


@pytest.mark.parametrize("option", ["limit_train_batches=0.0001", "val_check_interval=1000"])
def test_options_that_do_not_suit_the_data(criteo_file, option):
    message = error_of(*arguments("fit", criteo_file, f"--trainer.{option}"))
    assert option.partition("=")[0] in message
    assert not list(Path("runs").iterdir())


def test_a_fit_that_fails_before_its_first_step_leaves_no_run(run, criteo_file):
    refuse = mock.patch.object(ZooModule, "_step", side_effect=ZooError("no such step"))
    with refuse:
        assert error_of(*arguments("fit", criteo_file)) == "error: no such step"
    assert [path.name for path in run.parent.iterdir()] == ["version_0"]  # that of before
    (run / "checkpoints/best.ckpt").stat()


def test_a_fit_that_fails_later_keeps_its_run(criteo_file):
    fail = mock.patch.object(RunRecord, "finish", side_effect=ZooError("no such step"))
    with fail:
        assert error_of(*arguments("fit", criteo_file, "--trainer.max_epochs=1"))
    assert Path("runs/t/version_0/checkpoints/last.ckpt").is_file()


# Loggers


def test_the_default_loggers_and_the_arguments_of_the_model(run):
    logged = yaml.safe_load((run / "hparams.yaml").read_text())
    assert (logged["model"], logged["hidden_units"]) == ("DeepFM", [16])
    assert "schema" not in logged
    assert list(run.glob("events.out.tfevents*"))
    assert (run / "metrics.csv").is_file()


def test_no_logger(criteo_file):
    made = fit(criteo_file, "--trainer.max_epochs=1", "--trainer.logger=false")
    assert {path.name for path in made.iterdir()} == {
        *("checkpoints", "config.yaml", "encoder", "metrics.json")
    }
    config = yaml.safe_load((made / "config.yaml").read_text())
    assert config["trainer"]["logger"] is False
    assert not Path("config.yaml").exists()


def test_a_logger_of_the_user_is_used_beside_metrics_csv(criteo_file):
    theirs = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=mine"]
    made = fit(criteo_file, "--trainer.max_epochs=1", *theirs)
    (mine,) = Path("mine").rglob("metrics.csv")
    assert mine.read_bytes() == (made / "metrics.csv").read_bytes()
    assert not list(made.glob("events.out.tfevents*"))


# Checkpoints


def test_checkpoints_are_written_by_the_project_unless_a_plugin_does():
    class Theirs(pl.plugins.io.TorchCheckpointIO):
        pass

    options = {"accelerator": "cpu", "logger": False}
    assert isinstance(ZooTrainer(**options).strategy.checkpoint_io, AtomicCheckpointIO)
    theirs = Theirs()
    assert ZooTrainer(plugins=[theirs], **options).strategy.checkpoint_io is theirs


# Processes that a launcher has started


def test_the_processes_of_torchrun_are_used(monkeypatch):
    options = {"devices": "auto", "num_nodes": 1}
    take_launched(options)
    assert options == {"devices": "auto", "num_nodes": 1}
    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    take_launched(options)
    assert options == {"devices": 3, "num_nodes": 2}
    chosen = {"devices": 2, "num_nodes": 3}
    take_launched(chosen)
    assert chosen == {"devices": 2, "num_nodes": 3}


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch):
    trainer = ZooTrainer(accelerator="cpu", devices=1, logger=False)
    check_launched(trainer)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ZooError, match=r"2 processes were launched \(WORLD_SIZE\), .* uses 1"):
        check_launched(trainer)


def test_the_processes_of_slurm_are_used(monkeypatch):
    for name, value in {"NTASKS": 6, "NTASKS_PER_NODE": 3, "JOB_NAME": "fit"}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    options = {"devices": "auto", "num_nodes": 1}
    take_launched(options)
    assert options == {"devices": 3, "num_nodes": 2}
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # in which a user starts processes by hand
    chosen = {"devices": "auto", "num_nodes": 1}
    take_launched(chosen)
    assert chosen == {"devices": "auto", "num_nodes": 1}


def test_a_process_of_another_machine_is_not_the_first(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ZooError, match=r"NODE_RANK is 1, .*num_nodes is 1: give"):
        take_launched({"devices": 1, "num_nodes": 1})
    assert rank_of_process() == 0
    take_launched({"devices": 1, "num_nodes": 2})
    assert rank_of_process() == 1


def test_a_process_that_would_take_itself_for_another_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")  # as PyTorchJob sets them, without LOCAL_RANK
    trainer = mock.Mock(world_size=2, global_rank=0)
    with pytest.raises(ZooError, match=r"the one of RANK 1 .* rank 0: start it with torchrun"):
        check_launched(trainer)


def test_nothing_is_made_where_the_processes_are_not_those_of_the_trainer(criteo_file, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    given = arguments("fit", criteo_file, "--trainer.devices=1", "--data.prepared=new")
    assert "2 processes were launched (WORLD_SIZE), and the trainer uses 1" in error_of(*given)
    assert not [path for path in (Path("new"), Path("runs/t")) if path.exists()]


def test_metrics_json_is_written_whole(run):
    json.loads((run / "metrics.json").read_text())
    assert not [path for path in run.rglob(".*") if path.name.endswith(".partial")]


def test_a_callback_whose_defaults_are_enumerations(criteo_file):
    run = fit(criteo_file, "--trainer.max_epochs=1", "--trainer.callbacks=Timer")
    timer = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["callbacks"]
    assert timer["init_args"]["interval"] == "step"
    command("fit", "--config", run / "config.yaml")
