"""The rules that options of datamodules keep."""

from zoo.data.errors import ZooError


def at_least(least: int, **options: int) -> None:
    """Raises `ZooError` where an option is smaller."""
    for option, value in options.items():
        if value < least:
            raise ZooError(f"data.{option} must be at least {least}, got {value}")


def shares(**options: float) -> None:
    """Raises `ZooError` where an option is not between 0 and 1."""
    for option, value in options.items():
        if not 0 <= value <= 1:
            raise ZooError(f"data.{option} is a share between 0 and 1, got {value}")
