"""What a checkpoint holds, read without data and without running anything in it."""

from zoo.inspect.facts import Inspection, load

__all__ = ["Inspection", "load"]
