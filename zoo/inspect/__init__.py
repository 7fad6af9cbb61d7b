"""What a checkpoint holds, and with data how well it predicts and why.

At the ground lie tables, figures and the page. Each fact that is shown is one file in
`weights_only` (read from the checkpoint alone) or `with_data`: it owns its data, their computation
and its sections.
"""

from importlib import import_module
from typing import Any

__all__ = ["Inspection", "load"]


def __getattr__(name: str) -> Any:  # imported when asked for, so that no import runs in a circle
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("zoo.inspect.inspection"), name)
