"""Shipped configs by name: `fit --config demo` works from any folder.

`python -m zoo.run.configs` lists the names, each with the first line of its file.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import zoo
from zoo.data.errors import ZooError
from zoo.data.plain import read_yaml

OPTIONS = ("--config", "-c")
PATH = re.compile(r"[\w./~ +@=-]*[\w/.]")  # no YAML, no URL


def folder() -> Path:
    """The folder of the shipped configs: inside an installed package, beside it in a checkout."""
    package = Path(zoo.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def names() -> list[str]:
    """Names of the shipped configs, such as `demo` and `criteo/deepfm`."""
    shipped = folder()
    return sorted(
        path.relative_to(shipped).with_suffix("").as_posix() for path in shipped.rglob("*.yaml")
    )


def resolve(arguments: Iterable[str]) -> list[str]:
    """The arguments of a command line, with shipped configs as paths.

    Args:
        arguments: What follows the name of the program. A value of `--config` may be a file or
            the name of a shipped config, with or without `.yaml`.

    Raises:
        ZooError: where it is neither.
    """
    return list(_resolved(iter(arguments)))


def _resolved(arguments: Iterator[str]) -> Iterator[str]:
    for argument in arguments:
        option, equals, value = argument.partition("=")
        yield f"{option}={path_of(value)}" if option in OPTIONS and equals else argument
        if argument in OPTIONS:
            yield from map(path_of, islice(arguments, 1))  # nothing where it comes last


def path_of(config: str) -> str:
    """The file that a value of `--config` means; YAML and URLs are left as they are.

    Raises:
        ZooError: where there is none, or it is no config.
    """
    if len(config) > 4096 or (not PATH.fullmatch(config) and not Path(config).is_file()):
        return config
    if Path(config).is_file():
        if not isinstance(read_yaml(Path(config)), dict):
            raise ZooError(f"config: {config} is no config: it has no options with values")
        return config
    name, shipped = config.removeprefix("configs/").removesuffix(".yaml"), names()
    if name in shipped:
        return str(folder() / f"{name}.yaml")
    close = get_close_matches(name, shipped, 3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    if Path(config).is_dir():
        inside = [f", such as {path}" for path in sorted(Path(config).glob("*.yaml"))]
        hint = f"it is a directory, name a file{''.join(inside[:1])}; "
    raise ZooError(
        f"config: no file and no shipped config {config}; {hint}"
        "`python -m zoo.run.configs` lists those shipped"
    )


def main() -> None:
    """Prints the names of the shipped configs and what they are."""
    for name in names():
        first = (folder() / f"{name}.yaml").read_text().partition("\n")[0]
        print(f"{name:36}{first.removeprefix('# ')}")


if __name__ == "__main__":
    main()
