"""Raw files damaged at random, as transfers, editors and exports damage them."""

import gzip

INSERTED = (
    *(b"\r", b"\0", b"\xef\xbb\xbf", b"\xff", b'"', b"\t", b",", b";", b":", b"|", b"\n", b"\r\n"),
    *(b"_", b" ", b"\x0b", b"\x1c", b"\x85", "\u2028".encode(), "é".encode(), b"-", b"1", b"\n\n"),
)
CELLS = (
    *(b"nan", b"inf", b"-Infinity", b"1e400", b"1e39", b"1_000", b" 5", b"5 ", b"0x10", b"-7", b""),
    *(b"epoch", b"1410210", b"14102124", b"14102101", b"True", b"2018-02-30", b"20180715", b"+5"),
    *(
        b".5",
        b"5.",
        b"1e3",
        b"00000000000012",
        b"\xc2\xb2",
        b"\xd9\xa1",
        b"2",
        b"0",
        b"99999999999",
    ),
)


def damaged(random, data, delimiter):
    """The bytes of a raw file, damaged in one to three ways."""
    for _ in range(random.choice((1, 1, 2, 3))):
        data = random.choice(WAYS)(random, data, delimiter)
    return data


def packed(random, data):
    """The bytes of a .gz of one or two members, which may be damaged."""
    cut = random.choice((0, random.randrange(len(data) + 1)))
    found = gzip.compress(data[cut:], mtime=0)
    found = gzip.compress(data[:cut], mtime=0) + found if cut else found
    way = random.choice((None, None, flipped, flipped, cut_off, inserted, with_end, bytes_swapped))
    return way(random, found, b"\0") if way else found


def flipped(random, data, _):
    if not data:
        return data
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def bytes_swapped(random, data, _):
    """Two bytes of the last eight, which are checksum and length of a .gz, change places."""
    found = bytearray(data)
    i, j = random.randrange(-8, 0), random.randrange(-8, 0)
    if len(data) >= 8:
        found[i], found[j] = found[j], found[i]
    return bytes(found)


def cut_off(random, data, _):
    return data[: random.randrange(len(data) + 1)]


def with_end(random, data, _):
    return data + random.choice((bytes(100), b"garbage", data[:50]))


def inserted(random, data, _):
    place = random.randrange(len(data) + 1)
    return data[:place] + random.choice(INSERTED) + data[place:]


def with_cell(random, data, delimiter):
    lines = data.split(b"\n")
    place = random.randrange(len(lines))
    cells = lines[place].split(delimiter)
    cells[random.randrange(len(cells))] = random.choice(CELLS)
    lines[place] = delimiter.join(cells)
    return b"\n".join(lines)


def with_lines(random, data, _):
    """A line is left out, comes twice, or a blank one or the first one comes between."""
    lines = data.split(b"\n")
    place = random.randrange(len(lines))
    lines[place : place + 1] = random.choice(
        ([], [lines[place]] * 2, [b"", lines[place]], [lines[0], lines[place]])
    )
    return b"\n".join(lines)


def written_otherwise(random, data, delimiter):
    """Another encoding, other line ends, quotes, another delimiter."""
    way = random.randrange(8)
    if way == 0:
        return data.decode("latin-1").encode(random.choice(("utf-16", "utf-16-le", "utf-16-be")))
    if way == 1:
        return data.replace(b"\n", b"\r")
    if way == 2:
        return data.replace(delimiter, random.choice((b";", b",", b"\t", b"|")))
    if way == 3:
        between = b'"' + random.choice((delimiter, b",")) + b'"'
        return b'"' + data.replace(delimiter, between).replace(b"\n", b'"\n"') + b'"'
    return data.replace(b"\n", b"\r\n") if way < 6 else b"\xef\xbb\xbf" + data


WAYS = (
    *(flipped, flipped, cut_off, inserted, inserted, inserted, inserted),
    *(with_cell, with_cell, with_cell, with_lines, with_lines, written_otherwise),
)
