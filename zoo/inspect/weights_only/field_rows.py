"""The rows of a parameter that belong to fields, as a model's description names them."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema
from zoo.models.description import FieldRows


def rows_by_field(
    described: FieldRows, schema: Schema, parameters: Mapping[str, Tensor], dims: int
) -> Iterator[tuple[Field, Tensor]]:
    """Each field with its rows [R, ..]: as many as it has ids, one of a numerical field.

    Args:
        described: What a model says of a parameter.
        schema: Fields of the model.
        parameters: Trained tensors by name.
        dims: Number of dimensions of the rows, once a column is chosen: two of embeddings, one of
            first-order weights.

    Raises:
        ZooError: where the parameter does not exist, or does not fit the schema.
    """
    fields = {field.name: field for field in schema.fields}
    named = [fields[name] for name in described.fields if name in fields]
    tensor, column = parameters.get(described.parameter), described.column
    if tensor is not None and column is not None:
        inside = tensor.ndim == 2 and -tensor.shape[1] <= column < tensor.shape[1]
        tensor = tensor[:, column] if inside else None
    sizes = [field.cardinality or 1 for field in named]
    distinct = len(set(described.fields)) == len(named) == len(described.fields)
    if not distinct or tensor is None or tensor.ndim != dims or len(tensor) != sum(sizes):
        what = "embedding table does" if dims > 1 else "first-order weights do"
        raise ZooError(f"its {what} not fit its schema")
    yield from zip(named, tensor.split(sizes) if sizes else (), strict=True)
