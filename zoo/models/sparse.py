"""Whether an optimizer is given gradients of the rows of a batch, or of whole tables."""

from typing import Literal

from zoo.data.errors import require
from zoo.models.class_spec import ClassSpec, parts_of

EQUAL = ("adagrad", "sgd")  # whose sparse and dense steps are equal
OPTIONS = {"eps", "initial_accumulator_value", "lr_decay"}  # with which they still are
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
        sparse is not True or _is_equal(optimizer) or lazy,
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


def takes_rows(
    sparse: Sparse, optimizer: ClassSpec, *, decays: bool, possible: bool, several: bool
) -> bool:
    """Whether the optimizer is given gradients of the rows of a batch alone.

    Args:
        sparse: Value of `model.sparse_gradients`.
        optimizer: Value of `model.optimizer`.
        decays: Whether the embeddings decay.
        possible: Whether the strategy lets gradients be sparse.
        several: Whether there are several processes; a single one with options of the optimizer
            keeps its dense steps, which round in another order.
    """
    if sparse != "auto":
        return sparse
    equal = optimizer in EQUAL or (several and _is_equal(optimizer))
    return _is_lazy(optimizer) or (possible and equal and not decays)


def _is_equal(optimizer: ClassSpec) -> bool:
    name, arguments = parts_of(optimizer)
    return name.lower().removeprefix("torch.optim.") in EQUAL and arguments.keys() <= OPTIONS


def _is_lazy(optimizer: ClassSpec) -> bool:
    return parts_of(optimizer)[0].lower() in LAZY
