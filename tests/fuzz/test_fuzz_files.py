"""Damaged files of every kind that the commands read: one sentence, or the content as it was.

A short run with every test run; the long one by hand: `python tests/fuzz/test_fuzz_files.py 2500`.
"""

import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import numpy as np
import pytest
import torch
import yaml
from support.damage import damaged_bytes, damaged_json, damaged_yaml, damaged_zip
from support.running import error_of
from support.small_checkpoints import saved, small

from datamodules import Criteo
from datamodules.prepared.arrays import ARRAYS, Arrays
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import Manifest
from datamodules.synthetic.clicks import PlantedClicks
from zoo import ZooError
from zoo.data.interactions import read_interactions
from zoo.inspect import load
from zoo.inspect.checkpoint import read
from zoo.run.inspect import data_of

FILES = int(os.environ.get("FUZZ_FILES", "120"))
FIELDS = ("C1", "C2", "C3", "I1")
INTERACTIONS = {
    "format": 1,
    "model": "DeepFM",
    "instances": 10,
    "interactions": [
        {"fields": ["C1", "C2"], "count": 3, "p_uniform": 0.1},
        {"fields": ["C3", "I1"]},
    ],
}


class Place:
    """Whole files of all kinds in a folder, and how each is opened."""

    def __init__(self, folder):
        self.folder = folder
        PlantedClicks(rows=200).write(folder / "train.txt")
        data = Criteo(str(folder / "train.txt"), prepared=str(folder / "prepared"))
        data.prepare_data()
        self.data, self.prepared = data, data.folder
        run = folder / "run"
        (run / "checkpoints").mkdir(parents=True)
        saved(small("DeepFM", data.schema), run / "checkpoints/best.ckpt")
        shutil.copytree(data.encoder_folder, run / "encoder")
        options = {"path": str(data.path), "prepared": str(data.prepared), "batch_size": 64}
        config = {
            "name": "x",
            "model": {"class_path": "zoo.DeepFM", "init_args": {"embedding_dim": 4}},
            "data": {"class_path": "datamodules.Criteo", "init_args": options},
            "trainer": {"max_epochs": 1, "callbacks": [{"class_path": "EarlyStopping"}]},
        }
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        (run / "metrics.json").write_text(json.dumps({"val/auc": 0.5, "epochs": 2}))
        (folder / "interactions.json").write_text(json.dumps(INTERACTIONS))
        self.wanted = {}
        self.checkpoint = run / "checkpoints/best.ckpt"
        self.kinds = {
            "checkpoint": (self.checkpoint, damaged_bytes, self.weights),
            "packed checkpoint": (self.checkpoint, damaged_zip, self.packed),
            "config": (run / "config.yaml", damaged_yaml, self.configured),
            "config of a fit": (run / "config.yaml", damaged_yaml, self.parsed),
            "config of a run": (run / "config.yaml", damaged_yaml, self.inspected),
            "metrics": (run / "metrics.json", damaged_json, self.inspected),
            "manifest": (self.prepared / "manifest.json", damaged_json, self.manifest),
            "manifest of before": (self.prepared / "manifest.json", self.unsigned, self.opened),
            "encoder": (self.prepared / "encoder/encoder.json", damaged_json, self.encoder),
            "array": (self.prepared / "train/label.npy", damaged_bytes, self.verified),
            "header": (self.prepared / "train/numerical.npy", self.header, self.arrays),
            "interactions": (folder / "interactions.json", damaged_json, self.interactions),
        }

    # How files are opened: what is returned must be as it was, unless it is None

    def weights(self, path):
        state = read(path)["state_dict"]
        return {name: tensor.numpy().tobytes() for name, tensor in state.items()}

    def packed(self, path):
        load(path).to_dict()

    def configured(self, path):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                data_of(path)
            except SystemExit:
                raise ZooError(said.getvalue()) from None

    def parsed(self, path):
        message = error_of("validate", "--config", path, f"--ckpt_path={path}.none")
        raise ZooError(message)

    def inspected(self, path):
        load(self.checkpoint).to_dict()

    def manifest(self, path):
        return Manifest.load(path.parent)

    def unsigned(self, chance, content):
        """As an earlier version wrote it, without a checksum of its own, and damaged."""
        plain = {k: v for k, v in json.loads(content).items() if k != "checksum"}
        return damaged_json(chance, json.dumps(plain).encode())

    def opened(self, path):
        again = Criteo(str(self.data.path), prepared=str(self.data.prepared))
        assert again.schema
        again.setup("fit")
        again.summary()

    def encoder(self, path):
        found = Encoder.load(path.parent)
        found.check("Criteo", self.data.encoder_options(), path.parent)

    def verified(self, path):
        Manifest.load(self.prepared).verify(self.prepared)
        return path.read_bytes()

    def header(self, chance, content):
        return damaged_bytes(chance, content[:128]) + content[128:]

    def arrays(self, path):
        found = Arrays.open(path.parent)
        return [np.asarray(getattr(found, array)).tobytes() for array in ARRAYS]

    def interactions(self, path):
        read_interactions(path, FIELDS, "--interactions")


def fuzz(place, number):
    """Damages a file, opens it, puts it back. Returns its kind and what came of it."""
    chance = random.Random(number)
    name = [*place.kinds][number % len(place.kinds)]
    path, damage, opening = place.kinds[name]
    whole = path.read_bytes()
    if name not in place.wanted:
        place.wanted[name] = None if name == "config of a fit" else opening(path)
    path.write_bytes(damage(chance, whole))
    try:
        found = opening(path)
    except ZooError as error:
        message = str(error).strip()
        assert "\n" not in message, (number, name, message)
        assert len(message) <= 1100, (number, name)
        return name, "refused"
    except BaseException as error:
        error.add_note(f"file {number}: a damaged {name}")
        raise
    finally:
        path.write_bytes(whole)
    assert found == place.wanted[name], (number, name)
    return name, "read"


@contextlib.contextmanager
def working_in(folder):
    """Where the mark of code that runs would appear."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
    assert not (folder / "ran").exists()


@pytest.mark.filterwarnings("ignore")
def test_damaged_files(tmp_path):
    torch.manual_seed(0)
    with working_in(tmp_path):
        place = Place(tmp_path)
        found = Counter(fuzz(place, number) for number in range(FILES))
    assert sum(found.values()) == FILES
    assert found["array", "refused"] > found["array", "read"]  # those read were not changed


def main(files):
    """Prints how many files of each kind were refused, and how many read."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
        place, found, failed = Place(Path(folder)), Counter(), 0
        for number in range(files):
            try:
                found[fuzz(place, number)] += 1
            except (Exception, SystemExit) as error:
                failed += 1
                print(
                    f"{number}: {type(error).__name__}: {str(error)[:200]}",
                    *getattr(error, "__notes__", ()),
                )
        for (name, end), count in sorted(found.items()):
            print(f"{count:6} {end}: {name}")
        print(f"{files} files, {failed} failed")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2500)
