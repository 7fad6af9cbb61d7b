"""The example of DNA: its sequences, its network, and CACGTG found in it, and not in decoys."""

import contextlib
import io
import re
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.running import ROOT

from zoo import ZooError

sys.path.insert(0, f"{ROOT}/examples/domains")
import dna
import dna_sequences
from dna_network import DNACNN, network_of

SITES, DECOYS = 60, 10  # of each distance


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The example, run whole in the small setting: its model, what it printed, and its page."""
    path, models = tmp_path_factory.mktemp("dna") / "dna.html", []

    def trained(*options):
        models.append(own(*options))
        return models[0]

    own, said = dna.trained, io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(dna, "trained", trained)
        patch.setattr("sys.argv", ["dna.py", "--quick", "--output", str(path)])
        patch.setattr(socket.socket, "connect", refused)
        dna.main()
    return models[0], said.getvalue(), path.read_text(encoding="utf-8")


def refused(*_):
    raise AssertionError("the example asks the network")


def test_the_motif_is_that_of_jaspar():
    shares = dna_sequences.motif()
    assert shares.shape == (4, 12)
    assert shares.sum(0) == pytest.approx(np.ones(12))
    assert dna_sequences.text_of(shares.argmax(0)) == "GGCCACGTGCCC"  # the consensus of MA0147.3


def test_without_jaspar(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyjaspar", None)
    with pytest.raises(ZooError, match=r"pip install \"interpretable-zoo\[domains\]\""):
        dna_sequences.motif()


def test_sequences_hold_what_they_say():
    drawn = dna_sequences.draw(2000, np.random.default_rng(3))
    texts = [dna_sequences.text_of(row) for row in drawn.letters]
    assert {len(text) for text in texts} == {36}
    for text, start, kind, bound, distance in zip(
        texts, drawn.starts, drawn.kinds, drawn.bound, drawn.distances, strict=True
    ):
        place = text[start : start + 6]
        assert len(re.findall("(?=CACGTG)", text)) == (kind == "site") == bound
        assert distance == sum(a != b for a, b in zip(place, "CACGTG", strict=True))
        if kind[1:8] == " letter":
            assert distance == int(kind[0])
        elif kind == "3 to 6 letters":
            assert 3 <= distance <= 6
        elif kind == "shuffled":
            assert sorted(place) == sorted("CACGTG")
        elif kind == "E-box":
            assert re.fullmatch("CA..TG", place)
    assert {*drawn.kinds} == {*dna_sequences.SHARES}
    assert drawn.bound.mean() == pytest.approx(0.5, abs=0.04)
    again = dna_sequences.draw(2000, np.random.default_rng(3))
    assert np.array_equal(drawn.letters, again.letters)


def test_letters_beside_the_site_are_those_of_the_motif_on_either_strand():
    drawn = dna_sequences.drawn(np.full(3000, "site"), np.random.default_rng(0))
    beside = np.take_along_axis(drawn.letters, drawn.starts[:, None] + np.arange(-3, 9), 1)
    shares = dna_sequences.motif()
    both = (shares + shares[::-1, ::-1]) / 2  # the other strand has the complements, backwards
    for place in (0, 1, 2, 9, 10, 11):
        own = np.bincount(beside[:, place], minlength=4) / len(beside)
        assert own == pytest.approx(both[:, place], abs=0.04)


def test_other_strand():
    row = dna_sequences.numbers("AACGTC")[None]
    assert dna_sequences.text_of(dna_sequences.other_strand(row)[0]) == "GACGTT"
    letters = torch.as_tensor(dna_sequences.draw(50, np.random.default_rng(0)).letters)
    network = DNACNN(8)
    other = torch.as_tensor(dna_sequences.other_strand(letters.numpy()).copy())
    assert torch.allclose(network(letters), network(other), atol=1e-6)


def test_same_seeds_give_the_same_network():
    train = dna_sequences.draw(300, np.random.default_rng(0))
    one, two = (network_of(train, 4, 1, 5).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_example(run):
    model, said, page = run
    assert model.accuracy > 0.99
    assert "accuracy on held-out sequences" in said
    sites = re.findall(r"CACGTG at (\d+)\n +\+[\d.]+ (.+)\n", said)
    assert len(sites) == 3
    for start, names in sites:
        expected = [f"{letter}{int(start) + i}" for i, letter in enumerate("CACGTG")]
        assert {*expected} <= {*names.split()}
    assert page.count("<svg") == 6
    assert page.count('class="inside"') >= 18


@pytest.mark.parametrize("name", ["missing/dna.html", ""])
def test_a_page_that_cannot_be_written(name, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["dna.py", "--output", str(tmp_path / name)])
    monkeypatch.setattr(dna, "trained", refused)
    with pytest.raises(SystemExit, match=rf"^error: --output: {tmp_path / name}: .+$"):
        dna.main()
    assert [*tmp_path.iterdir()] == []


def test_the_example_without_jaspar(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyjaspar", None)
    monkeypatch.setattr("sys.argv", ["dna.py", "--output", str(tmp_path / "dna.html")])
    with pytest.raises(SystemExit, match=r"^error: the motif .* \"interpretable-zoo\[domains\]\"$"):
        dna.main()
    assert [*tmp_path.iterdir()] == []


def test_all_six_letters_are_found_in_sites_and_not_in_decoys(run):
    """The promise: in 97 % of the sites at least, and in 3 % of the decoys at most."""
    held_out = run[0].held_out
    counts = {0: SITES, **dict.fromkeys(range(1, 7), DECOYS)}
    rows = np.concatenate([np.flatnonzero(held_out.distances == d)[:n] for d, n in counts.items()])
    assert len(rows) == sum(counts.values())
    instances = [dna.instance_of(run[0], row) for row in rows.tolist()]
    starts = held_out.starts[rows].tolist()
    found = [*map(dna.holds_site, dna.explained(instances), starts)]
    assert sum(found[:SITES]) >= 0.97 * SITES
    assert sum(found[SITES:]) <= 0.03 * len(found[SITES:])


def test_of_two_sites_both_are_found(run):
    """Either is enough where all letters are on, but few random copies hold both."""
    first, second = 3, 24
    random = np.random.default_rng(0)
    drawn = dna_sequences.drawn(np.full(40, "random"), random)
    for start in (first, second):
        drawn.letters[:, start : start + 6] = dna_sequences.numbers("CACGTG")
    rows = np.flatnonzero(dna_sequences.occurrences(drawn.letters) == 2)[:4]
    model = replace(run[0], held_out=drawn.at(rows))
    found = dna.explained([dna.instance_of(model, row) for row in range(len(rows))])
    assert all(dna.holds_site(one, start) for one in found for start in (first, second))


def test_black_boxes(run, monkeypatch):
    monkeypatch.setattr(dna, "trained", lambda quick, seed: run[0])
    (box,) = dna.black_boxes(quick=True)
    assert (box.name, len(box.instances)) == ("DNA-CNN", 40)
    for instance in box.instances:
        assert "CACGTG" in dna_sequences.text_of(instance.x)
        own = instance.scores(instance.x[None])
        one = instance.switches.apply(instance.x, torch.ones(1, 36))
        assert torch.equal(own, instance.scores(one))
        assert [name[0] for name in instance.names] == [*dna_sequences.text_of(instance.x)]
