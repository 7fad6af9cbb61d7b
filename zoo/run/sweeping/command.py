"""What `train.py sweep` does."""

from collections.abc import Sequence
from importlib.util import find_spec

from zoo.data.errors import ZooError
from zoo.run.plugins import import_plugins
from zoo.run.sweeping.options import split
from zoo.run.trust import restricted_imports


def run(arguments: Sequence[str]) -> None:
    """Searches.

    Raises:
        ZooError: where Optuna is missing, an option is wrong, or too many trials fail.
    """
    options, given = split(arguments)
    if find_spec("optuna") is None:
        raise ZooError('sweep needs Optuna: pip install "interpretable-zoo[sweep]"')
    from zoo.run.sweeping.sweep import Sweep  # which imports it

    with restricted_imports(arguments):
        import_plugins()
        Sweep(options, given, arguments).run()
