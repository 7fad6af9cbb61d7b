"""Readers of raw formats in plain Python, to compare with: slow, of small files.

A reader gives the usable rows by their number, from 0, and what is wrong with the others, or None
where the file as a whole is of another format.
"""

import gzip
import re
import zlib
from datetime import datetime

import numpy as np

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
AVAZU_FIELDS = (
    *("site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
    *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *("C1", "banner_pos", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21"),
)


def unpacked(data, is_packed):
    """The bytes of a file; None of a damaged .gz."""
    if not is_packed:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None


def lines_of(data, utf8=True):
    """(text, problem) of each line."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    found = []
    for line in lines[:-1] if lines[-1] == b"" else lines:
        content = line.removesuffix(b"\r")
        problem = "it holds a NUL byte" if b"\0" in line else None
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("utf-8", "backslashreplace")
            problem = problem or ("it is not UTF-8 text" if utf8 else None)
        found.append((text, problem))
    return found


def delimited(lines, delimiter, width, read):
    """(usable, problems) of lines, whose cells `read` takes, or raises ValueError."""
    usable, problems = {}, {}
    for number, (text, problem) in enumerate(lines):
        cells = text.split(delimiter) if text else []
        if problem is None and len(cells) != width:
            problem = f"it has {len(cells)} columns, not {width}"
        if problem is None:
            try:
                usable[number] = read(cells)
            except ValueError as error:
                problem = str(error)
        if problem is not None:
            problems[number] = problem
    return usable, problems


def number_of(name, text):
    if not text:
        return 0.0
    with np.errstate(over="ignore"):
        found = np.float32(text) if NUMBER.fullmatch(text) else np.float32("nan")
    if not np.isfinite(found):
        raise ValueError(f"{name} is not a number")
    return float(found)


def label_of(name, text):
    if text not in ("0", "1"):
        raise ValueError(f"its label ({name}) is not 0 or 1")
    return float(text)


def criteo(data):
    """Rows (label, numbers, categories) of Criteo's format."""
    lines = lines_of(data)
    if not lines:
        return None
    labelled = lines[0][0].count("\t") != 38

    def read(cells):
        label = label_of("label", cells.pop(0)) if labelled else None
        numbers = [number_of(f"I{i}", text) for i, text in enumerate(cells[:13], 1)]
        return label, numbers, cells[13:]

    return delimited(lines, "\t", 39 + labelled, read)


def avazu(data):
    """Rows (label, no numbers, categories) of Avazu's format."""
    (header, _), *lines = lines_of(data) or [("", None)]
    columns = header.split(",")
    named = [column for column in columns if column]
    if not {"hour", *AVAZU_FIELDS} <= set(columns) or len(set(named)) < len(named):
        return None

    def read(cells):
        row = dict(zip(columns, cells, strict=True))
        label = label_of("click", row["click"]) if "click" in row else None
        try:
            if not re.fullmatch(r"\d{8}", row["hour"], re.ASCII):
                raise ValueError
            time = datetime.strptime(row["hour"], "%y%m%d%H")
        except ValueError:
            raise ValueError("hour is not of the form YYMMDDHH") from None
        weekend = "yes" if time.isoweekday() > 5 else "no"
        parts = [time.strftime("%H"), time.strftime("%a"), weekend]
        return label, [], parts + [row[field] for field in AVAZU_FIELDS]

    return delimited(lines, ",", len(columns), read)


def pairs(data):
    """Rows (user, movie) of a file to score."""
    lines = lines_of(data)
    if not lines:
        return None
    if re.fullmatch(r"\W*[A-Za-z]\w*\W+[A-Za-z]\w*\W*", lines[0][0]):
        lines = lines[1:]

    usable, problems = {}, {}
    for number, (text, problem) in enumerate(lines):
        found = re.fullmatch(r" *(\d{1,18}) *[,\t] *(\d{1,18}) *", text, re.ASCII)
        if problem or not found:
            problems[number] = problem or "it is not user,movie"
        else:
            usable[number] = (int(found[1]), int(found[2]))
    return usable, problems


def ratings(data):
    """Rows (user, item, time) of ml-1m's ratings."""
    usable, problems = {}, {}
    lines = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1").split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines):
        cells = line.removesuffix("\r").split("::")
        ids = [cell for i, cell in enumerate(cells) if i != 2]
        good = len(cells) == 4 and re.fullmatch(r"\d+\.?\d*", cells[2], re.ASCII)
        if good and all(re.fullmatch(r"\d{1,18}", cell, re.ASCII) for cell in ids):
            usable[number] = tuple(map(int, ids))
        else:
            problems[number] = "it is not user, movie, rating and time"
    return usable, problems


def interactions(usable):
    """{user: items by time} of ratings: the last of each pair, users with three at least."""
    found = {}
    for user, item, _ in sorted(usable.values(), key=lambda row: row[2]):
        mine = found.setdefault(user, {})
        mine.pop(item, None)
        mine[item] = None
    return {user: list(mine) for user, mine in found.items() if len(mine) >= 3}
