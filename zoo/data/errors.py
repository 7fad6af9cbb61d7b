"""What is said of a mistake that the user can correct."""


class ZooError(Exception):
    """A mistake that the user can correct.

    Its message is one sentence: what is wrong, where (file, line, field, option), what to do.
    """


def require(condition: bool, rule: str, value: object) -> None:
    """Raises `ZooError` where an option of a model breaks a rule."""
    if not condition:
        raise ZooError(f"model.{rule}, got {value!r}")
