"""In which settings the configs of runs differ, and which runs are seeds of one config."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.inspect.table import flat_options

# What a config says of the run, and nothing of what it learns
OUTSIDE = re.compile(
    r"name|runs|report|ckpt_path|config|data\.(encoder|prepared|verify|workers|memory_limit"
    r"|predict_\w+|recommend\w*)"
    r"|trainer\.(enable_\w+|logger(\..*|\[.*)?|log_every_n_steps|default_root_dir|profiler(\..*)?)"
)
# A seed of the first weights, of the order of rows, of what dropout leaves out; not `split_seed`,
# which says which rows are trained on
SEED = re.compile(r"seed_everything|(data|model)\.shuffle_seed|model\.seed")
ABSENT = "-"


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a config by name, as the command line names them; null ones are left out."""
    named = {name.replace(".init_args", ""): value for name, value in flat_options(config)}
    return {name: value for name, value in named.items() if value not in (None, {}, [])}


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings whose values are not those of all runs, None where a run has none.

    What says only how the run is kept, such as its name, is left out.

    Args:
        settings: The settings of each run; see `settings_of`.
    """
    names = dict.fromkeys(name for of in settings for name in of if not OUTSIDE.fullmatch(name))
    found = {name: [of.get(name) for of in settings] for name in names}
    return {name: values for name, values in found.items() if any(v != values[0] for v in values)}


def seeds_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The seeds among the settings of a run."""
    return {name: value for name, value in settings.items() if SEED.fullmatch(name)}


def same_configs(settings: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """The runs of each config, which differ in their seeds alone; in the order of the runs."""
    found: dict[str, list[int]] = {}
    for i, of in enumerate(settings):
        kept = {
            name: value
            for name, value in of.items()
            if not OUTSIDE.fullmatch(name) and not SEED.fullmatch(name)
        }
        found.setdefault(repr(sorted(kept.items())), []).append(i)
    return [*found.values()]
