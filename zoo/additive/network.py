"""An additive network: a glass box of single fields, pairs and triples.

Shapes: B batch, F fields, N numbers, D embedding, Q terms, T bins.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.additive.grouped import grouped
from zoo.additive.kept import KeptRows
from zoo.additive.monotone import directions_of
from zoo.additive.purified import Inputs
from zoo.additive.teacher import Teacher
from zoo.additive.terms import Terms, resolved
from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.errors import ZooError, require
from zoo.data.schema import JOINER, Schema
from zoo.models.checkpoint import checksums_of
from zoo.models.measures import mean_loss
from zoo.models.terms import Term
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.numbers import NumericalEncoding

TINY = 1e-12  # variance below which the gradient of a deviation fades


class AdditiveNetwork(CTRModule):
    """A sum of functions of few fields each, every one of which can be looked at.

        logit = b + sum_T f_T(x_T),   f_T(x_T) = sum_k prod_{j in T} phi_Tjk(x_j)

    with phi_Tjk(x_j) = <w_Tjk, e_j(x_j)> and the vectors e_j of the fields: of a category its
    embedding, of a number a curve that is linear in each of its quantile bins and constant beyond
    the training rows. Terms of single fields are a neural additive model (Agarwal et al., *Neural
    Additive Models*, NeurIPS 2021); with those of detected interactions it is a sparse interaction
    additive network (Enouen & Liu, NeurIPS 2022, section 3) or GA2M (Lou et al., KDD 2013), whose
    terms are low-rank tensors in place of deep networks or trees.

    What a term adds is told apart from what smaller terms add: over each of its fields alone its
    mean is zero (see `zoo.additive.purified`), and so is its mean over the training rows.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        terms: Fields of each term, such as `[[age], [age, city]]`; or `{from: interactions.json,
            pairs: 20, triples: 5}`, all single fields and the strongest interactions of a file
            that `detect` wrote; null is all single fields.
        rank: Number of products in the terms of several fields.
        monotone: Numbers in which the logit may only rise (1) or only fall (-1), such as
            `{price: -1}`.
        switched_off: Names of terms that predictions leave out, such as `age x city`.
        teacher: Checkpoint of a model of the same fields, such as a DeepFM, whose probabilities
            are learned beside the labels; the checkpoint of this model needs it no more.
        teacher_share: Share of its probabilities in what is learned; the labels have the rest.
        sparsity: What the standard deviation of each term costs, in nats for each unit of the
            logit, so that those that help less vanish.
        smallest_effect: Standard deviation, in units of the logit, below which `sparsity` switches
            a term off: where it was below it and did not grow between two validations.
        embedding_std: Standard deviation of the initial embeddings.
        numerical_encoding: What a function of a number is linear in: `piecewise_linear`, its
            place in each of its quantile bins; `learned_bins`, the weights of soft bins whose
            cuts are learned; `none`, the number itself.
        numerical_bins: Largest number of these bins, fitted on the training rows.
        shared: Options of `CTRModule`.

    Attributes:
        fields: Names of the fields of each term, by its name.
        additive: The functions of the terms.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        terms: Terms | None = None,
        rank: int = 8,
        monotone: dict[str, int] | None = None,
        switched_off: Sequence[str] = (),
        teacher: str | None = None,
        teacher_share: float = 0.5,
        sparsity: float = 0.0,
        smallest_effect: float = 0.03,
        embedding_std: float = 0.01,
        numerical_encoding: NumericalEncoding = "piecewise_linear",
        numerical_bins: int = 32,
        **shared: Any,
    ) -> None:
        super().__init__(
            schema,
            embed_numerical=False,
            first_order=False,
            embedding_std=embedding_std,
            numerical_encoding=numerical_encoding,
            numerical_bins=numerical_bins,
            **shared,
        )
        for name in ("embed_numerical", "first_order"):
            self.hparams.pop(name)  # no options here, so none to reload with
        require(rank >= 1, "rank must be at least 1", rank)
        require(0 <= teacher_share <= 1, "teacher_share must be from 0 to 1", teacher_share)
        require(sparsity >= 0, "sparsity must be at least 0", sparsity)
        require(smallest_effect >= 0, "smallest_effect must be at least 0", smallest_effect)
        self.teacher_path, self.teacher_share = teacher, teacher_share
        self.sparsity, self.smallest_effect = sparsity, smallest_effect
        assert isinstance(self.embedding, FusedEmbedding)  # of one size
        if self.embedding.pooling.candidates:
            raise ZooError(
                "model.pooling: attention would make the terms of a list depend on another field: "
                "choose mean or sum"
            )
        found = resolved(terms, self.schema)
        if isinstance(terms, Mapping):  # a checkpoint and the config of a run need no file
            self.settle(terms=found)
        else:
            self.save_hyperparameters({"terms": found}, logger=False)
        dim, bins = self.embedding.embedding_dim, max(self.embedding.bins, 1)
        self.number_vectors = nn.Parameter(torch.empty(len(self.schema.numerical), bins, dim))
        nn.init.normal_(self.number_vectors, std=embedding_std)
        directions = directions_of(monotone, self.schema, numerical_encoding)
        self.additive = grouped(self.schema, found, rank, dim, bins, directions)
        self.kept_rows = KeptRows()
        self._teacher: Teacher | None = None
        self._purified_at = -1
        self.fields = {JOINER.join(term): tuple(term) for term in found}
        self._leave_out(switched_off)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms, in the order of `contributions`."""
        off = self.hparams["switched_off"]
        return tuple(Term(name, fields, name not in off) for name, fields in self.fields.items())

    def switch(self, names: Collection[str], on: bool) -> None:
        """Switches terms on or off, which a checkpoint keeps.

        Args:
            names: Names of the terms, such as `age x city`.
            on: Whether they are added to the logit from now on.

        Raises:
            ZooError: where there is no such term.
        """
        self._known(names)
        before = self.hparams["switched_off"]
        self._leave_out([n for n in self.fields if (not on if n in names else n in before)])

    def _leave_out(self, names: Sequence[str]) -> None:
        self._known(names)
        self.additive.switch_off([[*self.fields].index(name) for name in names])
        self.save_hyperparameters({"switched_off": [*names]}, logger=False)

    def _known(self, names: Collection[str]) -> None:
        for name in names:
            known = ", ".join(self.fields)
            require(name in self.fields, f"switched_off must name terms: {known}", name)

    def shift(self, by: float) -> None:
        """Adds to the constant.

        Args:
            by: What the logit of each row rises by.
        """
        with torch.no_grad():
            self.bias += by

    # Logits

    def forward(self, batch: Batch) -> Tensor:
        """[B] logits."""
        return self.recalibrated(self.bias + self.additive(*self._inputs(batch)))

    def contributions(self, batch: Batch) -> Tensor:
        """[B, Q] what each term adds to the logit; together with the `intercept` the logit.

        The mean of each over the training rows is zero; of a term that is switched off, all are.
        """
        return self.additive.contributions(*self._inputs(batch)).T

    @property
    def intercept(self) -> Tensor:
        """[1] what no term adds: the logit of a row in which every term adds nothing."""
        return self.recalibrated(self.bias + self.additive.constant())

    def _inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[F, B, D] vectors of all fields, numbers first, and [N, B, T] encodings of numbers."""
        embedded = self.embedding(batch)
        count = len(self.schema.numerical)
        numbers = embedded.flat[:, embedded.flat.shape[1] - self._number_columns :]
        bins = numbers.unsqueeze(2)
        if self.embedding.encoding is not None:  # beyond the training rows as at their ends
            bins = numbers[:, count:].unflatten(1, (count, -1)).clamp(0, 1)
        bins = bins.transpose(0, 1)
        vectors = torch.bmm(bins, self.number_vectors)
        return torch.cat((vectors, embedded.vectors.transpose(0, 1))), bins

    @property
    def _number_columns(self) -> int:
        """Columns of `Embedded.flat` behind the vectors."""
        return len(self.schema.numerical) * (1 + self.embedding.bins)

    # Training

    def setup(self, stage: str) -> None:
        """Loads the teacher."""
        super().setup(stage)
        if stage == "fit" and self.teacher_path is not None:
            checksums = checksums_of(self.trainer)
            self._teacher = Teacher(Path(self.teacher_path), self.schema, checksums)

    def losses(self, batch: Batch) -> tuple[Tensor, ...]:
        """The loss of a batch, in training with what the teacher says and terms cost; logits."""
        if not self.training or not (self._teacher or self.sparsity):
            return super().losses(batch)
        added = self.additive.contributions(*self._inputs(batch))
        logits = self.bias + self.additive.constant() + added.sum(0)
        target = batch
        if self._teacher:
            taught = self._teacher.probability(batch, self.negative_sampling_rate)
            target = batch._replace(label=batch.label.lerp(taught, self.teacher_share))
        (counted,), label, weight = self.counting(target, logits)
        deviations = (added.var(1, correction=0) + TINY).sqrt()
        loss = mean_loss(counted, label, weight) + self.sparsity * deviations.sum()
        return loss, logits

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keeps the first rows, by which terms are told apart."""
        super().on_train_batch_start(batch, batch_idx)
        self.kept_rows.add(batch)

    def on_validation_start(self) -> None:
        """Tells the terms apart, so that the checkpoint of these weights can."""
        if not self.trainer.sanity_checking:
            before = self.additive.spread.clone()
            self.purify()
            self._purified_at = self.global_step
            if self.sparsity:
                self._drop(before)

    def _drop(self, before: Tensor) -> None:
        """Switches off the terms that are small and did not grow; once off, they stay off."""
        now = self.additive.spread
        small = (now < self.smallest_effect) & (before < self.smallest_effect) & (now <= before)
        self.switch(
            [name for name, off in zip(self.fields, small.tolist(), strict=True) if off], False
        )

    def on_train_epoch_end(self) -> None:
        """The same, where nothing is validated."""
        super().on_train_epoch_end()
        if self._purified_at != self.global_step:
            self.purify()

    def purify(self) -> None:
        """Tells the terms apart by the rows that training has kept.

        No logit changes, unless terms are switched off that have parts of larger ones.
        """
        if self.kept_rows.rows:
            training = self.training
            self.eval()
            self.additive.fit(self._kept_inputs)
            self.train(training)

    @torch.no_grad()
    def _kept_inputs(self) -> Iterator[Inputs]:
        for batch in self.kept_rows.batches():
            yield *self._inputs(batch), self._weights(batch)

    def _weights(self, batch: Batch) -> Tensor:
        return torch.ones_like(batch.label) if batch.weight is None else batch.weight

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Switches off the terms that were off when it was saved."""
        super().on_load_checkpoint(checkpoint)
        self._leave_out(checkpoint["hyper_parameters"].get("switched_off") or ())
