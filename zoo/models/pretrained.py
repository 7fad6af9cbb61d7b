"""Embedding vectors that were made elsewhere, from a Parquet file.

Shapes: R values of a piece of the file, D embedding.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch

from zoo.data.encoder import value_names
from zoo.data.errors import ZooError, require_file
from zoo.data.schema import MISSING, Schema
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.sized import SizedEmbedding

OPTION = "model.pretrained"


class Pretrained(TypedDict):
    """Where the vectors of the values of a field lie.

    Args:
        path: Parquet file, with a row for each value.
        value: Column of the values; without it, that of the field's name.
        vector: Column of the vectors, which are lists of numbers, or a list of columns of numbers;
            without it, all other columns.
        frozen: Whether these vectors are kept as they are, where they are trained without it.
    """

    path: str
    value: NotRequired[str]
    vector: NotRequired[str | list[str]]
    frozen: NotRequired[bool]


def checked(given: Mapping[str, Any] | None, schema: Schema) -> dict[str, Pretrained]:
    """The option as plain data, by the field whose vocabulary the vectors are of.

    Args:
        given: Its value.
        schema: Fields of the model.

    Raises:
        ZooError: where it names no field of ids, or what it says of one is damaged.
    """
    found: dict[str, Pretrained] = {}
    owners = {f.name: f.vocabulary or f.name for f in schema.fields if f.has_ids}
    known = Pretrained.__annotations__
    for name, spec in (given or {}).items():
        if name not in owners:
            raise ZooError(f"{OPTION}: {name!r} is no field of ids: these are {', '.join(owners)}")
        if not isinstance(spec, Mapping) or "path" not in spec or not known.keys() >= spec.keys():
            raise ZooError(
                f"{OPTION}.{name} must have a path, and may have {', '.join([*known][1:])}, got "
                f"{spec!r}"
            )
        plain = {key: value for key, value in spec.items() if value is not None}
        found[owners[name]] = cast(Pretrained, {"value": name, **plain, "path": str(spec["path"])})
    return found


def take_vectors(
    embedding: FusedEmbedding | SizedEmbedding, name: str, spec: Pretrained, encoder: Path | None
) -> str:
    """Gives the values of a field their vectors; those without one keep what they have.

    Args:
        embedding: The embeddings of the model.
        name: Name of the field.
        spec: Where the vectors lie.
        encoder: Folder of the encoder that names the values.

    Returns how many values have a vector, in words.

    Raises:
        ZooError: where the file cannot be used, or has a vector of no value.
    """
    path = Path(spec["path"])
    if encoder is None:
        raise ZooError(f"{OPTION} needs data whose values have names, which these do not have")
    named = value_names(encoder, {name: None})[name]
    ids = {value: i for i, value in named.items() if i > MISSING}
    part, first = embedding.place(name)
    value = spec.get("value", name)
    seen = torch.zeros(part.rows, dtype=torch.bool)
    for values, vectors in _vectors(path, value, spec.get("vector")):
        places = [(i, first + ids[v]) for i, v in enumerate(values) if v in ids]
        if not places:
            continue
        _check_size(path, name, vectors.shape[1], part.embedding_dim)
        mine, rows = torch.tensor(places).T
        if bool(seen[rows].any()) or len(rows.unique()) < len(rows):
            raise ZooError(f"{path}: a value of {value} stands there twice: keep one")
        seen[rows] = True
        chosen = torch.from_numpy(vectors[mine.numpy()])
        if not bool(chosen.isfinite().all()):
            raise ZooError(f"{path}: a vector holds a number that is missing, NaN or infinite")
        part.take_vectors(rows, chosen)
    if not (count := int(seen.sum())):
        raise ZooError(
            f"{path} has a vector of none of the {len(ids):,} values of {name}, such as "
            f"{next(iter(ids), '(none)')!r}"
        )
    if spec.get("frozen") and part.is_frozen is not None:
        part.is_frozen |= seen.to(part.is_frozen.device)
    how = "frozen" if spec.get("frozen") else "trained on"
    return f"{name}: {count:,} of {len(ids):,} values have a vector in {path} ({how})"


def _check_size(path: Path, name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ZooError(
            f"{path}: its vectors have {found} numbers, the embedding of {name} has {wanted}: give "
            f"model.embedding_dim={found}, or, in a model that takes several sizes, "
            f"model.embedding_dims={{{name}: {found}}}"
        )


def _vectors(
    path: Path, value: str, vector: str | list[str] | None
) -> Iterator[tuple[list[str | None], np.ndarray]]:
    """[R] values as text, and float32 [R, D] their vectors; rows without a vector are left out."""
    import pyarrow as pa  # which takes a while to load
    import pyarrow.parquet as pq

    require_file(path, OPTION)
    try:
        with pq.ParquetFile(path) as file:
            columns = _columns(path, value, vector, file.schema_arrow.names)
            for batch in file.iter_batches(columns=[value, *columns]):
                piece = pa.table(batch)
                filled = piece.filter(piece[columns[0]].is_valid())
                values = filled[value].cast(pa.string()).to_pylist()
                yield values, _matrix(path, [filled[column] for column in columns])
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(f"{path} ({OPTION}) cannot be read as Parquet: {reason}") from error


def _columns(
    path: Path, value: str, vector: str | list[str] | None, names: Sequence[str]
) -> list[str]:
    """The columns of the vectors."""
    if vector is None:
        vector = [name for name in names if name != value]
    columns = [vector] if isinstance(vector, str) else [*vector]
    for name in (value, *columns):
        if name not in names:
            raise ZooError(f"{path} has no column {name!r} ({OPTION}): it has {', '.join(names)}")
    if not columns:
        raise ZooError(f"{path} has no column of vectors beside {value!r} ({OPTION})")
    return columns


def _matrix(path: Path, columns: Sequence[Any]) -> np.ndarray:
    """float32 [R, D], of one column of lists, or of D columns of numbers."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = [column.type for column in columns]
    if len(columns) == 1 and pa.types.is_nested(kinds[0]) and not pa.types.is_struct(kinds[0]):
        (lists,) = columns
        sizes = pc.call_function("list_value_length", [lists]).unique().to_pylist()
        if len(sizes) > 1:
            raise ZooError(f"{path}: its vectors are of {len(sizes)} different sizes ({OPTION})")
        columns, width = [pc.call_function("list_flatten", [lists])], sizes[0] if sizes else 1
    else:
        width = 1
    if not all(pa.types.is_integer(c.type) or pa.types.is_floating(c.type) for c in columns):
        raise ZooError(f"{path}: its vectors are not of numbers ({OPTION})")
    found = [np.asarray(column.to_numpy(), np.float32) for column in columns]
    return np.stack(found, 1) if width == 1 else found[0].reshape(-1, width)
