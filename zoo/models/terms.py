"""Functions of a few fields each, which add up to the logit of a model: a glass box."""

from typing import NamedTuple


class Term(NamedTuple):
    """A function of some fields, which a model adds to its logit.

    Attributes:
        name: Its name, unique in the model, such as `item x hour`.
        fields: Names of the fields that it is a function of, and of no others.
        on: Whether it is added; what is switched off contributes zero.
    """

    name: str
    fields: tuple[str, ...]
    on: bool = True
