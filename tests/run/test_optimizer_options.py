"""Options of optimizers on the command line and in configs."""

from pathlib import Path

import pytest
import torch
import yaml
from support.fitting import arguments, fit
from support.running import ROOT, command, error_of

pytestmark = pytest.mark.usefixtures("workplace")
ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"betas": [0.9, 0.95]}}


def test_a_run_holds_its_optimizer_as_plain_data_and_goes_on(criteo_file, capsys):
    overlay = {
        "model": {
            "init_args": {
                "optimizer": ADAMW,
                "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR"},
                "weight_decay": 0.1,
                "embedding_weight_decay": 0.01,
            }
        }
    }
    Path("o.yaml").write_text(yaml.safe_dump(overlay))
    steps = ["--model.warmup_steps=2", "--trainer.max_epochs=2"]
    run = fit(criteo_file, "--config=o.yaml", *steps)
    config = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    logged = yaml.safe_load((run / "hparams.yaml").read_text())
    last = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    for found in (config, logged, last["hyper_parameters"]):
        assert (found["optimizer"], found["warmup_steps"]) == (ADAMW, 2)
    assert len(last["optimizer_states"][0]["param_groups"]) == 3
    capsys.readouterr()
    command("inspect", str(run / "checkpoints/last.ckpt"))
    shown = capsys.readouterr().out
    assert "torch.optim.AdamW" in shown
    assert "CosineAnnealingLR" in shown

    best = f"--ckpt_path={run}/checkpoints/best.ckpt"
    message = error_of("fit", f"--config={run}/config.yaml", best, "--model.optimizer=sgd")
    assert message.startswith(
        "error: model.optimizer of the checkpoint is {'class_path': 'torch.op"
    )
    command("fit", f"--config={run}/config.yaml", best)
    resumed = Path(sorted(Path("runs/t").iterdir())[-1]) / "checkpoints/last.ckpt"
    for name, weights in torch.load(resumed, weights_only=True)["state_dict"].items():
        assert torch.equal(weights, last["state_dict"][name]), name


def test_arguments_of_an_optimizer_on_the_command_line(criteo_file):
    given = ["--model.optimizer.class_path=torch.optim.AdamW", "--trainer.max_steps=1"]
    run = fit(criteo_file, *given, "--model.optimizer.init_args={betas: [0.9, 0.95]}")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"] == ADAMW
    run = fit(criteo_file, *given, "--model.optimizer.init_args.betas=[0.9, 0.95]")
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert saved["optimizer_states"][0]["param_groups"][0]["betas"] == (0.9, 0.95)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("optimizer=magic", "model.optimizer must be one of adadelta, adafactor, adagrad, adam, "),
        ("optimizer={class_path: torch.optim.AdamW, init_args: {beta: 1}}", "model.optimizer: Ad"),
        ("optimizer.class_path=os.system", "model.optimizer: os.system is no Optimizer of torch; "),
        ("optimizer.class_path=nowhere.Optimizer", "model.optimizer names nowhere.Optimizer, who"),
        ("lr_scheduler=StepLR", "model.lr_scheduler: StepLR cannot train with its arguments (non"),
        ("lr_scheduler_interval=steps", "model.lr_scheduler_interval: no lr_scheduler_interval s"),
        ("plateau_decay=0.1 --model.lr_scheduler=OneCycleLR", "model.plateau_decay and lr_schedu"),
    ],
)
def test_a_mistake_is_one_sentence_before_data_are_read(option, message):
    given = [f"--model.{part}" for part in option.split(" --model.")]
    found = error_of(*arguments("fit", "nowhere.txt", *given))
    assert found.startswith(f"error: {message}")


def test_a_config_names_no_code_that_lies_beside_it(criteo_file, monkeypatch):
    Path("mine.py").write_text("import torch\nclass Mine(torch.optim.SGD): pass\nassert False")
    monkeypatch.syspath_prepend(".")
    config = yaml.safe_load((ROOT / "configs/criteo/deepfm.yaml").read_text())
    config["model"] = {"class_path": "DeepFM", "init_args": {"optimizer": "mine.Mine"}}
    Path("c.yaml").write_text(yaml.safe_dump(config))
    message = error_of("fit", "--config=c.yaml", f"--data.path={criteo_file}")
    assert "model.optimizer names mine.Mine, whose module is not installed: install its" in message
