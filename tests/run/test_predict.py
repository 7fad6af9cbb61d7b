"""`predict`: a run directory scores new rows as the data of its fit."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.fitting import scored_test_split
from support.running import command, error_of

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


def test_files_of_one_name_and_other_checkpoints_have_predictions_of_their_own(
    run, criteo_file, tmp_path, capsys
):
    """None overwrites another's; a file that is scored again has its predictions replaced."""
    lines = criteo_file.read_text().splitlines()
    for folder, rows in {"monday": 30, "tuesday": 40}.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.txt").write_text("\n".join(lines[:rows]))
    config = ["predict", "--config", run / "config.yaml"]
    for checkpoint in ("best", "last"):
        for folder in ("monday", "tuesday", "monday"):
            path = f"--data.predict_path={tmp_path / folder / 'rows.txt'}"
            command(*config, path, "--ckpt_path", run / f"checkpoints/{checkpoint}.ckpt")
    found = {path.name: pq.read_metadata(path).num_rows for path in run.glob("predictions/*")}
    assert found.pop("rows.parquet") == 30  # monday's by best.ckpt, the first
    assert sorted(found.values()) == [30, 40, 40]
    assert all(re.fullmatch(r"rows-[0-9a-f]{8}\.parquet", name) for name in found)


def test_predictions_are_of_the_format_that_the_file_says(run, criteo_file, tmp_path):
    whole = predict(run, criteo_file)
    output = tmp_path / "new" / "p.csv"
    given = ["--config", run / "config.yaml", f"--data.predict_path={criteo_file}"]
    command("predict", *given, f"--data.predict_output={output}")
    pd.testing.assert_frame_equal(pd.read_csv(output), whole, check_dtype=False)
    for wrong in ("p.txt", "p", ".", "p.csv.gz"):
        message = error_of("predict", *given, f"--data.predict_output={wrong}")
        assert f"data.predict_output: {wrong} must name a file that ends in" in message


def test_columns_of_the_file_are_carried_along(run, criteo_file, tmp_path):
    """A malformed row that is text keeps its cells, one that is not text has none."""
    lines = [line.split("\t") for line in criteo_file.read_text().splitlines()[:20]]
    expected = [cells[14] or None for cells in lines]
    lines[4][1] = "no number"
    text = ["\t".join(cells).encode() for cells in lines]
    text[7], expected[7] = b"\xff", None
    new = tmp_path / "new.txt"
    new.write_bytes(b"\n".join(text))
    found = predict(run, new, "--data.predict_columns=[C1, I2]", "--data.max_bad_rows=0.2")
    assert found.columns.tolist() == ["row", "probability", "label", "C1", "I2"]
    assert [None if pd.isna(value) else value for value in found.C1] == expected
    assert found.probability.isna().to_numpy().nonzero()[0].tolist() == [4, 7]
    given = ["--config", run / "config.yaml", f"--data.predict_path={new}"]
    message = error_of("predict", *given, "--data.predict_columns=[id]")
    assert "new.txt has no column 'id' to carry along (data.predict_columns)" in message
    message = error_of(
        "predict", *given, "--data.predict_columns=[label]", "--data.max_bad_rows=0.2"
    )
    assert "label is a column of the predictions already" in message
