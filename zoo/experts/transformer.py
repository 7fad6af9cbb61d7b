"""The interpretable Transformer (Afchar & Hennequin 2020).

Shapes: B batch, T past events, T' tracks to predict, H experts, w width of one expert.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from zoo.data.batch import SessionBatch
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.experts.attention import TransformerBlock
from zoo.experts.sessions import SessionMixture
from zoo.experts.stacked import StackedRestriction


class InterpretableTransformer(SessionMixture):
    """A mixture of Transformers over sessions, each of which sees a subset of the fields.

        P(y_t = 1) = sum_i alpha_i f_i / sum_i alpha_i,   f_i = sigmoid(2 z_i)
        z_i = w_i^T decode_i(B_t, encode_i(A)) + b_i,   both over the fields of expert i

    With a prior other than 1/2, f_i starts from it (see `MixtureModule`).
    Self-attentive blocks encode the first part A of a session; blocks that attend to the result,
    with the second part B as query, decode it (Afchar & Hennequin, *Making Neural Networks
    Interpretable with Attribution*, RecSys 2020, sections 3.4.3 and 4.3.4: three blocks each,
    width 128). As there, the tracks of B do not attend to each other. A single subset of all
    fields is the plain Transformer.

    No positional encoding is added: an expert sees the order of the events through the fields of
    position in its subset, or not at all.

    A session without a past is encoded as one event of zeros.

    Args:
        schema: Fields of the batches, all numerical; see `Schema`.
        blocks: Number of blocks of the encoder, and of the decoder.
        heads: Number of heads of all experts together, an equal number for each; they divide the
            width.
        feed_forward: Number of hidden units of the blocks' feed-forward networks, of all experts
            together.
        shared: Options of `SessionMixture`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        blocks: int = 3,
        heads: int = 8,
        feed_forward: int = 256,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        require(blocks >= 1, "blocks must be at least 1", blocks)
        mine = self._share("heads", heads)
        width = self.width * len(self.lattice)
        require(self.width % mine == 0, f"heads must divide the width {width}", heads)
        parts = (self.schema.numerical, self.schema.future)
        self.past, self.future = (
            StackedRestriction(self._columns(fields), self.width) for fields in parts
        )
        options = (mine, self._share("feed_forward", feed_forward), self.dropout.p)
        self.encoder, self.decoder = (
            nn.ModuleList(
                TransformerBlock(self.lattice, self.width, *options) for _ in range(blocks)
            )
            for _ in range(2)
        )

    def encode(self, batch: SessionBatch) -> Tensor:
        """[B, T', H * w] features of the tracks to predict."""
        # zeros in place of no past, so that no softmax is over nothing
        mask = batch.past_mask | ~batch.past_mask.any(1, keepdim=True)
        memory = self.dropout(self.past(batch.past))
        for block in self.encoder:
            memory = block(memory, memory, mask)
        features = self.dropout(self.future(batch.future))
        for block in self.decoder:
            features = block(features, memory, mask)
        return features
