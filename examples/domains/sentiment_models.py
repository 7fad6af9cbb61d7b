"""Two readers of sentences, an LSTM and a Transformer, and how they learn.

In training each sentence loses a random part of its words, up to 60 %. That keeps so few sentences
from being learned by heart; and a sentence without some words, which is how it is explained, is
then nothing new to the model.

Shapes: B sentences, T words, E embedding, H hidden units of each direction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from reviews import LONGEST, PADDING, Reviews, Vocabulary
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.glider.domains.sequences import Deleted

OFF = Deleted(PADDING)
MOST_DELETED = 0.6  # of the words of a sentence, in training
EPOCHS, BATCH, RATE, AVERAGED = 8, 32, 1e-3, 0.99
LEAST_STATE = -1.0  # of an LSTM, whose states are products of a sigmoid and a tanh


class LSTM(nn.Module):
    """A bi-directional LSTM, the largest values of whose states give the logit.

    Args:
        words: Number of words, padding included.
        size: Size of the embedding, E.
        hidden: Hidden units of each direction, H.
        dropout: Share of embeddings and states that are dropped in training.
    """

    def __init__(self, words: int, size: int = 128, hidden: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        self.words = embedding(words, size)
        self.lstm = nn.LSTM(size, hidden, batch_first=True, bidirectional=True)
        self.logit = nn.Linear(2 * hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """[B] logits of ids [B, T]."""
        return self.read(self.words(ids), lengths(ids))

    def read(self, vectors: Tensor, length: Tensor) -> Tensor:
        """[B] logits of embeddings [B, T, E] of sentences of some lengths [B]."""
        length = length.clamp(min=1)
        x = self.dropout(vectors)
        packed = pack_padded_sequence(x, length.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, padding_value=LEAST_STATE
        )
        return self.logit(self.dropout(states.amax(1))).squeeze(1)


class Transformer(nn.Module):
    """A small Transformer, the mean of whose states gives the logit.

    Args:
        words: Number of words, padding included.
        size: Size of the embedding, E.
        layers: Number of layers.
        dropout: Share of embeddings and last states that are dropped in training.
    """

    def __init__(self, words: int, size: int = 64, layers: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.words = embedding(words, size)
        self.places = nn.Parameter(0.02 * torch.randn(1 + LONGEST, size))  # 0 begins a sentence
        layer = nn.TransformerEncoderLayer(
            size, 4, 2 * size, dropout=0.3, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, layers, norm=nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.logit = nn.Linear(size, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """[B] logits of ids [B, T]."""
        return self.read(self.words(ids), lengths(ids))

    def read(self, vectors: Tensor, length: Tensor) -> Tensor:
        """[B] logits of embeddings [B, T, E] of sentences of some lengths [B]."""
        longest = int(length.max())
        begin = vectors.new_zeros(len(vectors), 1, vectors.shape[2])
        x = torch.cat((begin, self.dropout(vectors[:, :longest])), 1)
        beyond = torch.arange(1 + longest) > length.unsqueeze(1)
        states = self.layers(x + self.places[: 1 + longest], src_key_padding_mask=beyond)
        total = states.masked_fill(beyond.unsqueeze(2), 0).sum(1)
        return self.logit(self.dropout(total / (1 + length.unsqueeze(1)))).squeeze(1)


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "Sentiment-LSTM": LSTM,
    "Sentiment-Transformer": Transformer,
}


def embedding(words: int, size: int) -> nn.Embedding:
    """Small vectors, that of padding being 0."""
    found = nn.Embedding(words, size, padding_idx=PADDING)
    with torch.no_grad():
        found.weight.normal_(std=0.1)
        found.weight[PADDING] = 0
    return found


def lengths(ids: Tensor) -> Tensor:
    """[B] numbers of words of ids [B, T]."""
    return (ids != PADDING).sum(1)


@dataclass(frozen=True)
class Trained:
    """A model that has learned.

    Attributes:
        name: Its name.
        model: The model, ready to score.
        vocabulary: What it takes words for.
    """

    name: str
    model: nn.Module
    vocabulary: Vocabulary

    def scores(self, ids: Tensor) -> Tensor:
        """[B] logits of being positive, of ids [B, T]."""
        with torch.no_grad():
            return self.model(ids[:, : max(int(lengths(ids).max()), 1)])

    def accuracy(self, reviews: Reviews) -> float:
        """Share of sentences whose sentiment it tells."""
        said = self.scores(self.vocabulary.padded(reviews.words)) > 0
        return float((said == (reviews.labels > 0.5)).float().mean())


def trained(name: str, reviews: Reviews, epochs: int = EPOCHS, seed: int = 0) -> Trained:
    """A model that has learned from sentences.

    The weights are the moving average of those of the last steps.

    Args:
        name: One of `MODELS`.
        reviews: The sentences.
        epochs: Number of times that each is seen.
        seed: Seed of weights, order and deletions.
    """
    vocabulary = Vocabulary(reviews.words)
    ids, labels = vocabulary.padded(reviews.words), reviews.labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name](len(vocabulary))
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))
        steps = epochs * math.ceil(len(ids) / BATCH)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
        for _ in range(epochs):
            for rows in torch.randperm(len(ids)).split(BATCH):
                logits = model(shortened(ids[rows]))
                loss = functional.binary_cross_entropy_with_logits(logits, labels[rows])
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                average.update_parameters(model)
    return Trained(name, average.module.eval(), vocabulary)


def shortened(ids: Tensor) -> Tensor:
    """[B, T] ids without some words, a random share of each sentence."""
    kept = torch.rand(ids.shape) >= MOST_DELETED * torch.rand(len(ids), 1)
    order = (~kept | (ids == PADDING)).byte().argsort(dim=1, stable=True)
    return ids.masked_fill(~kept, PADDING).gather(1, order)
