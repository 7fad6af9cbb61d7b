"""Which words a model of sentences needs together: of one sentence, and counted over many.

Shapes: d words of a sentence.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

from reviews import Words
from sentiment_models import OFF, Trained

from zoo.glider.walsh import SharedMasks, WalshConfig, WalshExplanation
from zoo.inspect.domains.page import ExplainedInstance
from zoo.inspect.domains.texts import HighlightedText
from zoo.inspect.page.parts import cut

# of Manning et al. 2008, which Tsang et al. 2020 leave out of what they show (appendix C)
_STOP = "a an and are as at be by for from has he in is it its of on that the to was were will with"
STOP_WORDS = frozenset((*_STOP.split(), *",!?'`", "``", "''"))
READING = (
    "Blue words raise the logit of being positive, orange ones lower it, alone and in the numbered "
    "interactions. Interactions of stop words are left out."
)


CONFIG = WalshConfig()
TITLE = 60  # characters


class Pair(NamedTuple):
    """Two words, the first of which comes before the other.

    Attributes:
        words: The words.
        found: Number of sentences in which they were found to interact.
        there: Number of sentences that have them in this order.
        value: Mean of what they add together, of those sentences in which they interact.
    """

    words: tuple[str, str]
    found: int
    there: int
    value: float


@cache
def _masks(features: int, config: WalshConfig, seed: int) -> SharedMasks:
    return SharedMasks(features, config, seed)


def explained(model: Trained, words: Words, seed: int = 0) -> WalshExplanation:
    """What words add to the score of a sentence, alone and together.

    Args:
        model: What scores it.
        words: The sentence.
        seed: Seed of which words are left out.
    """
    masks = _masks(len(words), CONFIG, seed)
    return masks.explain(masks.scores(model.scores, model.vocabulary.encoded(words), OFF))


def interactions(found: WalshExplanation, words: Words) -> list[tuple[tuple[int, ...], float]]:
    """Interactions without stop words, and what each adds, the largest first."""
    kept = [c for c in found.interactions if not any(words[i] in STOP_WORDS for i in c.features)]
    return [(c.features, c.value) for c in kept]


def instance(
    model: Trained, words: Words, found: WalshExplanation, reading: str = ""
) -> ExplainedInstance:
    """A sentence as the page shows it.

    Args:
        model: What scores it.
        words: Its words.
        found: What was found.
        reading: How to read the picture, one sentence.
    """
    score, sets = found.score, interactions(found, words)
    side = "positive" if score > 0 else "negative"
    chance = 1 / (1 + math.exp(-abs(score)))
    said = f"The {model.name} says {side}: a logit of {score:+.2f}, probability {chance:.0%}."
    mains = [c.value for c in found.mains]
    picture = HighlightedText(words, mains, sets, reading)
    title = f"{model.name}: {cut(' '.join(words), TITLE)}"
    return ExplainedInstance(title, said, words, mains, sets, picture, found.r2[1:])


def counted(
    explanations: Iterable[tuple[Words, WalshExplanation]], sentences: Sequence[Words]
) -> list[Pair]:
    """Pairs of words that interact, those of the most sentences first.

    Words are taken in their order, whatever stands between them (Tsang et al. 2020, table 2b): not,
    good is another pair than good, not.

    Args:
        explanations: Sentences and what was found of them.
        sentences: All sentences, in which pairs are looked for.
    """
    values = dict[tuple[str, str], list[float]]()
    for words, found in explanations:
        own = dict[tuple[str, str], float]()
        for features, value in interactions(found, words):
            if len(features) == 2:
                own.setdefault((words[features[0]], words[features[1]]), value)
        for pair, value in own.items():
            values.setdefault(pair, []).append(value)
    there = Counter(pair for words in sentences for pair in {*combinations(words, 2)})
    pairs = [Pair(p, len(v), there[p], sum(v) / len(v)) for p, v in values.items()]
    return sorted(pairs, key=lambda p: (-p.found, -abs(p.value), p.words))
