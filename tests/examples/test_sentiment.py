"""The example of sentiment on generated reviews, in which `not` turns a word's meaning round."""

import gzip
import sys

import numpy as np
import pytest
from support.running import ROOT

from zoo import ZooError
from zoo.glider.walsh import WalshConfig

sys.path.insert(0, f"{ROOT}/examples/domains")
import sentiment
from reviews import SPLITS, Vocabulary, read, words_of

FILLERS = "the film a plot its cast this story an actor one"


def generated(count, seed):
    """Lines of reviews: good and bad, or not good and not bad, between other words."""
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        positive, turned = random.integers(2, size=2)
        words = random.choice(FILLERS.split(), random.integers(3, 7)).tolist()
        at = int(random.integers(len(words)))
        mood = "good" if positive != turned else "bad"
        words[at:at] = ["not", mood] if turned else [mood]
        lines.append(f"{' '.join(words)}\t{positive}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder as --data takes it; one file of it is compressed."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "sst2_train.tsv.gz").write_bytes(gzip.compress(generated(600, 0).encode()))
    for seed, name in enumerate(("dev", "test"), 1):
        (folder / f"sst2_{name}.tsv").write_text(generated(120, seed))
    return folder


@pytest.fixture(scope="module")
def printed(data, tmp_path_factory):
    """What the command prints, and the page it writes."""
    page = tmp_path_factory.mktemp("page") / "sentiment.html"
    options = ["--data", str(data), "--output", str(page), "--epochs", "8", "--sentences", "12"]
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *of: lines.append(" ".join(map(str, of))))
        patch.setattr("sentiment_models.RATE", 6e-3)  # few steps
        patch.setattr("sentiment_models.MOST_DELETED", 0.2)
        patch.setattr("sentiment_found.CONFIG", WalshConfig(masks=300, held_out=100))
        sentiment.main([*options, "--text", "This film's plot is not good."])
    return "\n".join(lines), page.read_text()


def pairs_of(part):
    return part.split("pairs that interact")[1].split("\n")[1:]


def test_the_planted_interaction_is_found(printed):
    text, page = printed
    lstm, transformer = text.split("\nSentiment-")[1:]
    assert float(lstm.partition("accuracy ")[2].partition("%")[0]) > 95
    first = lstm.split("this film 's plot is not good")[1].split("\n")[1]
    assert "not, good" in first
    assert float(first.split()[0]) < 0
    found = {line.split("  ")[-1]: line.split("  ")[-2] for line in pairs_of(lstm)[:2]}
    assert {*found} == {"not, good", "not, bad"}
    assert float(found["not, good"]) < 0 < float(found["not, bad"])
    assert transformer.startswith("Transformer, accuracy")
    assert "this film 's plot is not good" in transformer
    assert "not · good" in page
    assert "Sentiment-Transformer: accuracy" in page


def test_black_boxes(data, monkeypatch):
    monkeypatch.setitem(sentiment.QUICK, "epochs", 1)
    boxes = sentiment.black_boxes(quick=True, data=data)
    assert [box.name for box in boxes] == ["Sentiment-LSTM", "Sentiment-Transformer"]
    for box in boxes:
        assert len(box.instances) == 40
        assert all(len(one.names) >= 6 for one in box.instances)
        one = box.instances[0]
        masks = one.switches.centre(one.x).repeat(3, 1)
        masks[1:] = 0  # no word at all has a score too
        scores = one.scores(one.switches.apply(one.x, masks))
        assert scores.isfinite().all()
        assert scores[1] == pytest.approx(float(scores[2]), abs=1e-6)
    again = sentiment.black_boxes(quick=True, data=data)
    for box, other in zip(boxes, again, strict=True):
        assert box.accuracy == other.accuracy
        own, others = box.instances[0], other.instances[0]
        assert own.names == others.names
        assert own.scores(own.x[None]) == others.scores(others.x[None])


def test_words_as_the_files_have_them():
    text = "It doesn't, can't: it's Bond\N{RIGHT SINGLE QUOTATION MARK}s ``re-imagined!"
    words = "it does n't , ca n't it 's bond 's `` re imagined !"
    assert " ".join(words_of(text)) == words


def test_a_vocabulary_leaves_out_rare_words():
    vocabulary = Vocabulary([["good", "good", "rare"], ["good", "film"], ["film"]])
    assert len(vocabulary) == 4
    assert vocabulary.encoded(["good", "film", "rare", "other"]).tolist() == [2, 3, 1, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("good\t1\nfilm\t2\n", "a.tsv, line 2: words, a tab, and 0 or 1 are expected"),
        ("good\t1\n\t1\n", "a.tsv, line 2: words, a tab"),
        ("good 1\n", "a.tsv, line 1: words, a tab"),
        ("", "a.tsv is empty"),
        (b"\xff\t1\n", "a.tsv is damaged, or no text"),
    ],
)
def test_a_file_that_is_no_reviews(tmp_path, content, message):
    path = tmp_path / "a.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ZooError, match=message):
        read(path)


def test_a_file_that_was_cut(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b"good film\t1\n" * 50)[:-12])
    with pytest.raises(ZooError, match=r"a.tsv.gz is damaged, or no text"):
        read(path)


def test_options(data):
    with pytest.raises(ZooError, match="--text: 'Good' has fewer than two words"):
        sentiment.main(["--data", str(data), "--text", "Good"])
    with pytest.raises(ZooError, match="--epochs and --sentences must be at least 1"):
        sentiment.main(["--data", str(data), "--epochs", "0"])
    with pytest.raises(ZooError, match=r"has no sst2_train.tsv \(or sst2_train.tsv.gz\)"):
        sentiment.main(["--data", str(data / "other")])


def test_downloads_are_of_one_commit():
    assert {remote.url.split("/")[5] for remote in SPLITS} == {
        "457ffd83de90a9d6d472d8ffc31bbffe40a8b236"
    }
