"""Seeded damage to files: bytes, values of JSON and YAML, members of zips."""

import io
import json
import zipfile
from contextlib import suppress

import yaml

OTHERS = [
    None, True, -1, 0, 3.5, 10**400, 1e308, "", "x", "\0", "x" * 5000, [], {}, [None], {"x": "x"},
    "os.system", "runs.x.Evil",
]  # fmt: skip
PAYLOAD = b"cposix\nsystem\n(S'touch ran'\ntR."  # of a pickle that would run code


def damaged_bytes(chance, content):
    """Flipped bits, bytes that are lost, doubled, moved or put in, a file that ends early."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 3, 20))):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice((1, 1, 4, 64, 5000)))
        kind = chance.randrange(7)
        if kind < 2 and start < len(data):
            data[start] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del data[start:stop]
        elif kind == 3:
            data[start:start] = data[start:stop]
        elif kind == 4:
            data[start:stop] = chance.randbytes(stop - start)
        elif kind == 5:
            data[start:start] = chance.choice((b"\0", b"\xff\xfe", b"[" * 5000, b"{a: " * 5000))
        else:
            del data[start:]
    return bytes(data)


def changed_values(chance, content):
    """One or a few values of a nested structure become others, or are lost."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        content = _changed(chance, content)
    return content


def _changed(chance, node):
    if not isinstance(node, dict | list) or not node or chance.random() < 0.15:
        other = chance.choice(OTHERS)
        for _ in range(chance.choice((0, 0, 0, 2, 100))):
            other = [other]
        return other
    keys = [*node] if isinstance(node, dict) else [*range(len(node))]
    key, made = chance.choice(keys), node.copy()
    kind = chance.randrange(8)
    if kind == 0:
        del made[key]
    elif kind == 1 and isinstance(made, dict):
        made[f"{key}x"] = made.pop(key)
    else:
        made[key] = _changed(chance, made[key])
    return made


def damaged_json(chance, content):
    """Damage to the text or to the values of a JSON file."""
    if chance.random() < 0.4:
        return damaged_bytes(chance, content)
    return json.dumps(changed_values(chance, json.loads(content))).encode()


def damaged_yaml(chance, content):
    """Damage to the text or to the values of a YAML file, aliases among them."""
    if chance.random() < 0.3:
        return damaged_bytes(chance, content)
    values = changed_values(chance, yaml.safe_load(content))
    if chance.random() < 0.1:
        for _ in range(chance.choice((3, 40))):
            values = {"data": values, "model": values}
    return yaml.safe_dump(values).encode()


def damaged_zip(chance, content):
    """Damage to the members of a zip, whose checksums then are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    for _ in range(chance.choice((0, 1, 1, 2))):
        place = chance.randrange(len(members))
        name, data = members[place]
        kind = chance.randrange(7)
        if kind < 2:
            members[place] = name, damaged_bytes(chance, data or b"x")
        elif kind == 2:
            members.append((name, data))
        elif kind == 3 and len(members) > 1:
            del members[place]
        elif kind == 4:
            members[place] = chance.choice(("/x", "../x", name + "x", "a\0")), data
        elif kind == 5:
            members = [(n, PAYLOAD if n.endswith("data.pkl") else d) for n, d in members]
        else:
            chance.shuffle(members)
    made = io.BytesIO()
    packing = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(made, "w", packing) as archive, suppress(UserWarning):
        for name, data in members:
            archive.writestr(name, data)
    return chance.choice((b"", b"", b"", b"PK\x03\x04 in front")) + made.getvalue()
