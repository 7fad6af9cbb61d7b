"""PyArrow's compute functions, which it makes when it is imported: no type checker sees them."""

from typing import Any

import pyarrow.compute

compute: Any = pyarrow.compute
