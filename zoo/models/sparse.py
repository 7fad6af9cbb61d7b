"""Whether an optimizer is given gradients of the rows of a batch, or of whole tables."""

from typing import Literal

from zoo.data.errors import require
from zoo.models.class_spec import ClassSpec, parts_of

EQUAL = ("adagrad", "sgd")  # whose sparse and dense steps are equal
LAZY = ("lazy_adam", "lazyadam", "zoo.nn.optim.lazyadam")  # there for its sparse steps

Sparse = Literal["auto"] | bool


def check_sparse(sparse: Sparse, optimizer: ClassSpec, decay: float) -> None:
    """Refuses options that do not go with the form of the gradients.

    Args:
        sparse: Value of `model.sparse_gradients`.
        optimizer: Value of `model.optimizer`.
        decay: Value of `model.embedding_weight_decay`.

    Raises:
        ZooError: names the options.
    """
    lazy = _is_lazy(optimizer)
    require(
        sparse is not True or optimizer in EQUAL or lazy,
        f"sparse_gradients needs an optimizer of {(*EQUAL, LAZY[0])}",
        optimizer,
    )
    require(
        sparse is not False or not lazy,
        "optimizer lazy_adam moves the rows of a batch alone, which sparse_gradients false hides "
        "from it: leave one of them out",
        optimizer,
    )
    option = "sparse_gradients" if sparse is True else "the optimizer lazy_adam"
    require(
        not decay or not (sparse is True or lazy),
        f"embedding_weight_decay changes all rows of a table, which {option} leaves out: give only "
        "one of them",
        decay,
    )


def takes_rows(sparse: Sparse, optimizer: ClassSpec, *, decays: bool, possible: bool) -> bool:
    """Whether the optimizer is given gradients of the rows of a batch alone.

    Args:
        sparse: Value of `model.sparse_gradients`.
        optimizer: Value of `model.optimizer`.
        decays: Whether the embeddings decay.
        possible: Whether the strategy lets gradients be sparse.
    """
    if sparse != "auto":
        return sparse
    return _is_lazy(optimizer) or (possible and optimizer in EQUAL and not decays)


def _is_lazy(optimizer: ClassSpec) -> bool:
    return parts_of(optimizer)[0].lower() in LAZY
