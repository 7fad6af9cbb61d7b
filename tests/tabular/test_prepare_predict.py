"""Prediction: new rows are encoded as the training rows were."""

import json
import shutil
from itertools import islice

import numpy as np
import pytest
from support.preparation import predicted, prepared, together, with_cell

from zoo.data.errors import ZooError


@pytest.fixture
def encoder(prepared_criteo, tmp_path):
    """A copy of the encoder of `prepared_criteo`, which may be damaged."""
    return shutil.copytree(prepared_criteo[2] / "encoder", tmp_path / "encoder")


@pytest.fixture
def scored(criteo, encoder, criteo_file, make_file):
    """The arrays of lines to predict, with the encoder of `prepared_criteo`."""

    def make(lines, **options):
        options = {
            "encoder": str(encoder),
            "predict_path": str(make_file(lines, "new.txt")),
            **options,
        }
        return predicted(criteo(criteo_file, **options))

    return make


def test_predict_encodes_the_file_as_preparation_did(prepared_criteo, scored, criteo_lines):
    expected = together(prepared_criteo[1]).categorical[: len(criteo_lines)]
    np.testing.assert_array_equal(scored(criteo_lines).categorical, expected)


def test_an_unseen_value_is_unknown(scored, criteo_lines):
    assert scored([with_cell(criteo_lines[0], 16, "never")]).categorical[0, 2] == 0


def test_a_missing_value_is_missing(scored, criteo_lines):
    assert scored([with_cell(criteo_lines[0], 16, "")]).categorical[0, 2] == 1


def test_rows_without_label_are_scored(scored, criteo_lines):
    arrays = scored([line.partition("\t")[2] for line in criteo_lines])
    assert (len(arrays), np.isnan(arrays.label).all()) == (1000, True)


def test_malformed_rows_to_predict_leave_the_others_their_numbers(scored, criteo_lines):
    lines = [*criteo_lines[:2], "x", b"\xff\n", *criteo_lines[2:4]]
    assert scored(lines, max_bad_rows=1).row.tolist() == [0, 1, 4, 5]


def test_malformed_rows_to_predict_stop_past_the_limit(scored, criteo_lines):
    with pytest.raises(ZooError, match=r"1 of 3 rows are .*line 3 of .*new.txt: it has 1 col"):
        scored([*criteo_lines[:2], "x"])


def test_avazu_predicts_without_click(shared_avazu, avazu, avazu_file, avazu_lines, make_file):
    cells = [line.split(",") for line in avazu_lines]
    unlabelled = make_file([",".join([row[0], *row[2:]]) for row in cells], "test.csv")
    encoder = str(shared_avazu.encoder_folder)
    arrays = predicted(avazu(avazu_file, encoder=encoder, predict_path=str(unlabelled)))
    expected = together(prepared(shared_avazu)).categorical
    np.testing.assert_array_equal(arrays.categorical, expected)


def test_predict_needs_a_file(criteo, criteo_file, encoder):
    with pytest.raises(ZooError, match=r"predict needs a raw file.*--data.predict_path FILE"):
        criteo(criteo_file, encoder=str(encoder)).setup("predict")


def test_predict_of_a_missing_file(criteo, criteo_file, encoder, tmp_path):
    absent = str(tmp_path / "absent.txt")
    with pytest.raises(ZooError, match=r"no such file: .*absent.txt"):
        predicted(criteo(criteo_file, encoder=str(encoder), predict_path=absent))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scaling": "none"}, "data.scaling = floor_log_squared, this config has none"),
        ({"min_count": 3}, "data.min_count = 10, this config has 3: use the config.yaml of that"),
    ],
)
def test_other_options_than_the_encoder_was_fitted_with(scored, criteo_lines, options, message):
    with pytest.raises(ZooError, match=message):
        scored(criteo_lines, **options)


def test_the_encoder_of_another_dataset(avazu, avazu_file, encoder):
    with pytest.raises(ZooError, match="was fitted on Criteo data, not on Avazu data"):
        predicted(avazu(avazu_file, encoder=str(encoder), predict_path=str(avazu_file)))


@pytest.mark.parametrize("name", ["encoder.json", "vocabulary.parquet"])
def test_an_encoder_without_a_file(scored, criteo_lines, encoder, name):
    (encoder / name).unlink()
    with pytest.raises(ZooError, match=r"encoder is not an encoder: .* is missing"):
        scored(criteo_lines)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b'{"format": 1, "schema": []}'],
)
def test_a_damaged_description_of_an_encoder(scored, criteo_lines, encoder, content):
    (encoder / "encoder.json").write_bytes(content)
    with pytest.raises(ZooError, match=r"encoder.json is damaged"):
        scored(criteo_lines)


def test_a_description_of_another_format(scored, criteo_lines, encoder):
    (encoder / "encoder.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ZooError, match=r"encoder.json has format 99, this version reads 1"):
        scored(criteo_lines)


@pytest.mark.parametrize("size", [0, 100, -50])
def test_a_cut_vocabulary(scored, criteo_lines, encoder, size):
    path = encoder / "vocabulary.parquet"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ZooError, match=r"vocabulary.parquet") as caught:
        scored(criteo_lines)
    chain = list(islice(chain_of(caught.value), 10))
    assert len(chain) == len({id(error) for error in chain}) < 10, "an error that is its own cause"


def chain_of(error):
    while error is not None:
        yield error
        error = error.__cause__
