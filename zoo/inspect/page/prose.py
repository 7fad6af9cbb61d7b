"""The little markup of docstrings as HTML: emphasis, code, formulas with real indices.

A text may come from a file: all of it is shown as text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zoo.inspect.table import clean, escaped
from zoo.models.description import FORMULA

GREEK = ("alpha", "beta", "gamma", "delta", "lambda", "mu", "sigma", "theta")
SIGNS = {
    **{name: f"&{name};" for name in GREEK},
    **{"sum": "&sum;", "prod": "&prod;", "..": "&hellip;", "*": "&middot;"},
    **{"<=": "&le;", ">=": "&ge;", "-": "&minus;"},
}
# an index: braces, or names and numbers, between which a comma may stand
INDEX = r"[_^](?:\{[^{}]*\}|[^\W_](?:[^\W_]|,(?=[^\W_]))*)"
WORD = r"(?<= )a(?= \w\w)|'s\b"  # which are no letters of a formula
ARTICLE = re.compile(WORD)
TOKEN = re.compile(rf"{INDEX}|{WORD}|[^\W\d_]+|\.\.|<=|>=|<(?=[^<>]+>)|\s{{2,}}|.")
IN_TEXT = re.compile(r"(?<![\w/.])[^\W\d_](?:[_^][^\W_]\b)+(?![\w/]|\.\w)")
MARKED = re.compile(r"`+([^`]+)`+|\*([^\s*](?:[^*]*[^\s*])?)\*")


@dataclass(frozen=True)
class Prose:
    """A text in paragraphs; those that begin with four spaces are formulas."""

    text: str

    def html(self) -> str:
        """The paragraphs."""
        return "\n".join(map(_paragraph, self.text.split("\n\n")))


def _paragraph(text: str) -> str:
    if not text.startswith(FORMULA):
        return f"<p>{marked(text)}</p>"
    lines = "".join(f"<div>{formula(line)}</div>" for line in text.splitlines())
    return f'<div class="formula wide" tabindex="0" role="group" aria-label="formula">{lines}</div>'


def marked(text: str) -> str:
    """A paragraph, with `code` and *emphasis*."""
    parts, end = [], 0
    for found in MARKED.finditer(text):
        code, words = found.groups()
        parts.append(_plain(text[end : found.start()]))
        parts.append(f"<em>{_plain(words)}</em>" if words else f"<code>{escaped(code)}</code>")
        end = found.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    """Words, among which a letter with an index is a formula."""
    parts, end = [], 0
    for found in IN_TEXT.finditer(text):
        parts += [escaped(text[end : found.start()]), formula(found[0])]
        end = found.end()
    return "".join([*parts, escaped(text[end:])])


def formula(text: str) -> str:
    """A formula in ASCII as HTML: indices, sums, letters in italics; words stay upright."""
    return "".join(_tokens(clean(text.strip())))


def _tokens(text: str) -> Iterator[str]:
    depth = 0  # of < .. >, a scalar product
    for found in TOKEN.finditer(text):
        token = found[0]
        if token[0] in "_^" and len(token) > 1:
            tag = "sub" if token[0] == "_" else "sup"
            yield f"<{tag}>{formula(token[1:].strip('{}'))}</{tag}>"
        elif token == "<" and ">" in text[found.end() :]:
            depth += 1
            yield "&lang;"
        elif token == ">" and depth:
            depth -= 1
            yield "&rang;"
        elif token.isspace() and len(token) > 1:
            yield '<span class="gap"></span>'
        elif token in SIGNS:
            yield SIGNS[token]
        else:
            letter = len(token) == 1 and token.isalpha() and not ARTICLE.match(text, found.start())
            yield f"<i>{escaped(token)}</i>" if letter else escaped(token)
