"""Plain data from files: what is damaged or would fill memory is refused in a sentence."""

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.running import error_of

from zoo import DeepFM, Field, Schema, ZooError
from zoo.data.plain import check_bounds, check_yaml, fits, read_json, read_yaml

ALIASES = [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
BOMB = "\n".join(["a0: &a0 [1, 2]", *ALIASES])
HOSTILE = {
    "an alias bomb": (BOMB, "it holds more than 10,000 values"),
    "5,000 braces": ("a: " + "{a: " * 5000 + "}" * 5000, "nested deeper than 64 levels"),
    "a million brackets": ("[" * 10**6, "nested deeper than 64 levels"),
    "an alias of itself": ("a: &a [*a]", "the alias *a stands inside of what it means"),
    "200,000 layers": (f"a: [{'1, ' * 200_000}]", "a list of more than 1,000 values"),
    "no YAML": ("a: [b\nc: d: e\n", "in line 2"),
    "a byte": (b"a: \xff", "it is not UTF-8, byte 3 is 0xff"),
    "a NUL": ("a: \0", "cannot be read as YAML: "),
    "an escaped NUL": ('a: "\\0"', "it holds a NUL character"),
}


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_yaml_that_is_not_read(name, tmp_path):
    content, message = HOSTILE[name]
    path, started = written(tmp_path / "x.yaml", content), time.monotonic()
    with pytest.raises(ZooError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path} cannot be read as YAML: ")
    assert message in str(error.value)
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("command", ["fit", "inspect"])
def test_commands_name_the_file(command, name, tmp_path, deepfm):
    content, message = HOSTILE[name]
    written(tmp_path / "x.yaml", content)
    more = [deepfm] if command == "inspect" else []
    said = error_of(command, *more, "--config", "x.yaml")
    assert said.startswith("error: x.yaml cannot be read as YAML: ")
    assert message in said


@pytest.mark.usefixtures("workplace")
def test_files_that_a_config_names_are_bounded_too(tmp_path):
    written(tmp_path / "data.yaml", f"class_path: GaussianClusters\n{BOMB}\n")
    written(tmp_path / "x.yaml", "model: DeepFM\ndata: data.yaml\n")
    assert "it holds more than 10,000 values" in error_of("fit", "--config", "x.yaml")


@pytest.mark.usefixtures("workplace")
def test_a_config_that_is_none(tmp_path):
    written(tmp_path / "list.yaml", "- a\n")
    message = "error: config: list.yaml is no config: it has no options with values"
    assert error_of("fit", "--config", "list.yaml") == message
    (tmp_path / "RUN").mkdir()
    written(tmp_path / "RUN/config.yaml", "model: DeepFM\n")
    message = "config RUN; it is a directory, name a file, such as RUN/config.yaml"
    for command in ("fit", "predict", "inspect"):
        assert message in error_of(command, "--config", "RUN")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc"), inner, max_size=4),
)


@settings(max_examples=50)
@given(VALUES)
def test_all_other_yaml_is_read(value):
    text = yaml.safe_dump({"value": value, "again": value})
    check_yaml(text)
    check_bounds(value, "x")
    assert yaml.safe_load(text) == {"value": value, "again": value}


@pytest.mark.parametrize("content", ["{", "[" * 100_000, b"\xff\xfe", '{"a": 1}x'])
def test_json_that_is_none(content, tmp_path):
    path = written(tmp_path / "x.json", content)
    with pytest.raises(ZooError, match=r"x\.json is not JSON: "):
        read_json(path)


@pytest.mark.parametrize(
    ("value", "kind", "is_one"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        ("1", float, False),
        ([1, "a"], tuple[int, str], True),
        ([1, "a", 2], tuple[int, str], False),
        (["a", 1], tuple[int, str], False),
        ([[1, "a"]], list[tuple[int, str]], True),
        ({"a": [1]}, dict[str, list[int]], True),
        ({"a": ["b"]}, dict[str, list[int]], False),
        ({"a": None}, dict[str, Any], True),
        ([], dict[str, Any], False),
        ("ab", list[str], False),
    ],
)
def test_kinds(value, kind, is_one):
    assert fits(value, kind) is is_one


@pytest.mark.usefixtures("workplace")
def test_a_message_is_no_longer_than_somebody_reads(tmp_path):
    long = "x" * 40_000
    written(tmp_path / "x.yaml", f"model: DeepFM\ndata: {long}\n")
    for arguments in (["--config", "x.yaml"], [f"--model={long}"], [f"--{long}=3"]):
        assert len(error_of("fit", *arguments)) < 1100
    assert len(str(ZooError(long))) <= 1000


@pytest.mark.usefixtures("workplace")
def test_a_network_of_thousands_of_layers():
    units = f"[{','.join(['1'] * 1001)}]"
    given = ["--model=DeepFM", f"--model.hidden_units={units}", "--data=GaussianClusters"]
    assert "a list of more than 1,000 values" in error_of("fit", *given)
    schema = Schema((Field("a", "categorical", 3),))
    with pytest.raises(ZooError, match="must name at most 1,000 layers, got 200000"):
        DeepFM(schema, hidden_units=[1] * 200_000)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    "option", ["data.batch_size", "model.embedding_dim", "model.dropout", "name", "runs", "monitor"]
)
def test_null_where_it_cannot_be(option, tmp_path):
    section, _, name = option.rpartition(".")
    classes = {"model": "DeepFM", "data": "GaussianClusters"}
    config = {key: {"class_path": value, "init_args": {}} for key, value in classes.items()}
    place = config[section]["init_args"] if section else config
    place[name] = None
    written(tmp_path / "x.yaml", yaml.safe_dump(config))
    message = error_of("fit", "--config", "x.yaml")
    assert message == f"error: {option} is null, which it cannot be: leave it out"
