"""`predict`: a run directory scores new rows as the data of its fit."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.fitting import scored_test_split
from support.running import command

pytestmark = pytest.mark.usefixtures("workplace")


def predict(run, path, *more):
    given = ["--ckpt_path", run / "checkpoints/best.ckpt", "--data.predict_path", path, *more]
    command("predict", "--config", run / "config.yaml", *given)
    return pq.read_table(run / "predictions" / f"{path.stem}.parquet").to_pandas()


def test_predict_needs_nothing_but_the_run(run, criteo_file, tmp_path):
    new = tmp_path / "new.txt"
    lines = criteo_file.read_text().splitlines()[:300]
    new.write_text("\n".join(lines))
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace(str(criteo_file), "gone.txt")
    )
    found = predict(run, new)
    assert found.row.tolist() == list(range(300))
    assert found.label.tolist() == [float(line[0]) for line in lines]


def test_predict_scores_rows_as_the_data_of_the_fit(run, criteo_file):
    found = predict(run, criteo_file)
    arrays, expected = scored_test_split(run, criteo_file)
    np.testing.assert_allclose(found.probability[arrays.row], expected, atol=1e-6)


def test_predict_without_labels_and_with_a_malformed_row(run, criteo_file, tmp_path):
    lines = [line[2:] for line in criteo_file.read_text().splitlines()[:50]]
    lines[3] = "only\ttwo"
    lines[49] = "x"
    new = tmp_path / "new.txt"
    new.write_text("\n".join(lines) + "\n")
    found = predict(run, new, "--data.max_bad_rows=0.1")
    assert found.row.tolist() == list(range(50))
    assert found.probability.isna().to_numpy().nonzero()[0].tolist() == [3, 49]
    assert found.label.isna().all()


def test_predict_takes_ids_that_training_never_saw(run, criteo_file, tmp_path):
    cells = criteo_file.read_text().splitlines()[0].split("\t")
    cells[14:] = ["never seen"] * 26
    new = tmp_path / "new.txt"
    new.write_text("\t".join(cells) + "\n")
    assert 0 < predict(run, new).probability[0] < 1
