"""Tables of options, made of the parsers of the command line.

`<!-- options: fit -->` in a page becomes the options of a command, `<!-- options: trainer -->`
those of the trainer, which many commands take, and `<!-- options: zoo.DCN -->` those of a class,
where `beyond zoo.CTRModule` leaves out those that another has, with the same defaults. A command
whose options no page shows ends the build.
"""

import html
import re
import sys
from argparse import SUPPRESS, Action
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files

sys.path.insert(0, str(Path(__file__).parents[2]))

from jsonargparse import ArgumentParser

MARKER = re.compile(r"<!-- options: ([\w.]+)(?: beyond ([\w.]+))? -->")
TRAINER = "trainer"
# what argparse adds to a description
TYPE = re.compile(
    r"\s*\((?:required, )?type: (?P<type>.*?)(?:, default: (?P<default>.*?))?"
    r"(?:, known subclasses: .*)?\)$",
    re.DOTALL,
)
DEFAULT = re.compile(r"\s*\((?:required, )?default: (?P<default>.*)\)$", re.DOTALL)
CHOICES = re.compile(r"Literal\[([^\]]*)\]")
# what Lightning writes in reStructuredText
ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
LIGHTNING_DEFAULT = re.compile(r"\s*Default: ``[^`]*``\.?")
NOT_SHOWN = {"help", "print_config", "trainer", "schema"}  # --trainer alone takes a file


class _Listed(Exception):
    """Ends the command line once its parsers are made."""


@cache
def parsers() -> dict[str, ArgumentParser]:
    """The parser of each command."""
    from zoo.run import cli

    found: dict[str, ArgumentParser] = {}

    class Listing(cli.ZooCLI):
        def parse_arguments(self, parser: Any, args: Any) -> None:
            found.update(parser._subcommands_action._name_parser_map)
            raise _Listed

    command_line, cli.ZooCLI = cli.ZooCLI, Listing
    try:
        cli.run([])
    except _Listed:
        return found
    finally:
        cli.ZooCLI = command_line
    raise AssertionError("the command line has parsed no arguments")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Puts tables in the place of the markers."""
    return MARKER.sub(lambda match: table_of(match[1], match[2]), markdown)


def on_files(files: Files, config: Any) -> Files:
    """Refuses a command whose options no page shows."""
    shown: set[str] = set()
    for file in files.documentation_pages():
        if file.src_uri.startswith("commands/"):
            shown |= {name for name, _ in MARKER.findall(file.content_string)}
    if missing := sorted({*parsers()} - shown):
        raise PluginError(f"no page of docs/commands has the options of {', '.join(missing)}")
    return files


def table_of(name: str, beyond: str | None = None) -> str:
    """The options of a command, of the trainer, or of a class, as a table."""
    if "." in name:
        parser = _parser_of(name)
        known = _parser_of(beyond)._actions if beyond else ()
        same = [(action.dest, action.default) for action in known]
        return _table(parser, (a for a in parser._actions if (a.dest, a.default) not in same), "")
    if name == TRAINER:
        fit = parsers()["fit"]
        return _table(fit, (a for a in fit._actions if a.dest.startswith("trainer.")), "--")
    if name not in parsers():
        raise PluginError(f"there is no command {name}, whose options a page shows")
    return _table(parsers()[name], _own(name), "--")


def _parser_of(name: str) -> ArgumentParser:
    module, _, class_name = name.rpartition(".")
    parser = ArgumentParser()
    parser.add_class_arguments(getattr(import_module(module), class_name), fail_untyped=False)
    return parser


def _own(name: str) -> list[Action]:
    """The options of a command; those that every command with a trainer takes are fit's."""
    fit = {action.dest for action in parsers()["fit"]._actions} - {"ckpt_path"}
    actions = [a for a in parsers()[name]._actions if not a.dest.startswith("trainer.")]
    with_trainer = any(a.dest == "trainer" for a in parsers()[name]._actions)
    if name == "fit" or not with_trainer:
        return actions
    return [a for a in actions if a.dest not in fit or a.dest == "config"]


def _table(parser: ArgumentParser, actions: Iterable[Action], prefix: str) -> str:
    lines = ["| option | default | what it says |", "|---|---|---|"]
    for action in actions:
        if action.dest in NOT_SHOWN or action.dest.endswith(".help"):
            continue
        name = f"{prefix}{action.dest}" if action.option_strings else action.dest.upper()
        says, default = _said(parser, action)
        lines.append(f"| `{name}` | {default} | {says} |")
    return "\n".join(lines)


def _said(parser: ArgumentParser, action: Action) -> tuple[str, str]:
    """The description and the default of an option."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    found = TYPE.search(text) or DEFAULT.search(text)
    text = text[: found.start()] if found else text
    default = "" if action.default in (None, SUPPRESS) else str(action.default)
    if found and found["default"] not in (None, "null"):
        default = found["default"]
    default = {"True": "true", "False": "false"}.get(default, default)  # as a config has it
    default = re.sub(r"^\((.*?),?\)$", r"[\1]", default)
    text = ROLE.sub(r"`\1`", LIGHTNING_DEFAULT.sub("", text)).replace("``", "`")
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    choices = [str(choice) for choice in action.choices or ()]
    for listed in CHOICES.findall(found["type"] if found and "type" in found.groupdict() else ""):
        choices += [choice.strip(" '") for choice in listed.split(",")]
    if not all(choice in text for choice in choices):
        text = f"{text.rstrip('.')}. One of {', '.join(f'`{choice}`' for choice in choices)}."
    if text and text[-1] not in ".!?":
        text += "."
    if action.option_strings and action.required:
        default = "required"
    return _escaped(text), f"`{default}`" if default else ""


def _escaped(text: str) -> str:
    """Text for a cell of a table: outside of code, nothing in it is Markdown."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [re.sub(r"([*_\[\]])", r"\\\1", html.escape(p, False)) for p in parts[::2]]
    return "`".join(parts)
