"""deepctr-torch's layers, without what importing its package does.

`import deepctr_torch` starts a thread that asks the package index for its newest version and
prints a line when that fails. Its layers need none of it, so they are imported below a bare
package that points at the installed files and is taken away again.
"""

import importlib
import importlib.util
import sys
from types import ModuleType


def _import_layers() -> ModuleType:
    if "deepctr_torch" in sys.modules:
        return importlib.import_module("deepctr_torch.layers")
    spec = importlib.util.find_spec("deepctr_torch")
    if spec is None:
        raise ModuleNotFoundError(
            "interpretable-zoo needs deepctr-torch: pip install deepctr-torch"
        )
    bare = ModuleType("deepctr_torch")
    bare.__path__ = spec.submodule_search_locations or []
    sys.modules["deepctr_torch"] = bare
    try:
        return importlib.import_module("deepctr_torch.layers")
    finally:
        del sys.modules["deepctr_torch"]


layers = _import_layers()
