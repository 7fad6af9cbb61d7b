"""What all models of rows share: embeddings and metrics.

Shapes: B batch.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import ZooError, require
from zoo.data.module import datamodule_of
from zoo.data.schema import Schema
from zoo.models.base import ZooModule
from zoo.models.class_spec import ClassSpec
from zoo.models.description import Description, FieldRows
from zoo.models.metrics import ClickMetrics, MetricDict, RankingMetrics
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.numbers import NumericalEncoding, encoding_of
from zoo.nn.pooling import Pooling

SPARSE_OPTIMIZERS = ("adagrad", "sgd")  # those whose sparse and dense steps are equal

RANKED = ("val/", "test/")  # the splits whose lists are ranked


class RowModule(ZooModule):
    """A model of P(y = 1) = sigmoid(logit) of one row.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        embedding_dim: Size of each field's embedding vector.
        embed_numerical: Give numerical fields an embedding too, value times vector.
        first_order: Add sum_f w_f(x_f) to the logit.
        embedding_std: Standard deviation of the initial embeddings.
        embedding_dropout: Share of the numbers in the embeddings of a row that training drops, the
            same for all parts of the model; first-order weights are kept.
        pooling: How a field of lists becomes one vector: `mean`, `sum`, or `attention` to the field
            whose vocabulary it shares; or one of these by the name of the field, such as
            `{history: attention}`, with `mean` for the others.
        numerical_encoding: What stands beside the plain value of each number, in the deep parts and
            in its embedding: `none`; `piecewise_linear`, its place in each of its quantile bins; or
            `learned_bins`, the weights of soft bins whose cuts are learned.
        numerical_bins: Largest number of these bins, fitted on the training rows.
        optimizer: Optimizer of all parameters: the name of one of torch's, such as `adagrad`,
            `adam`, `adamw` or `sgd`, or a class_path with init_args; see `OptimizedModule`.
        learning_rate: Learning rate of the optimizer.
        sparse_gradients: Let gradients of the embedding table hold the rows of the batch alone.
            `auto`: on one device, with an optimizer for which this changes no result (adagrad,
            sgd), without `embedding_weight_decay` and without gradient clipping. NCCL cannot reduce
            sparse gradients, so several GPUs need dense ones; nor can they be clipped.
        train_metrics: Log the exact AUC and logloss (and GAUC) of the training rows too, each as
            scored just before its step.
        shared: Options of `ZooModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        embed_numerical: bool = False,
        first_order: bool = True,
        embedding_std: float = 0.0001,
        embedding_dropout: float = 0.0,
        pooling: Pooling | dict[str, Pooling] = "mean",
        numerical_encoding: NumericalEncoding = "none",
        numerical_bins: int = 20,
        optimizer: ClassSpec = "adagrad",
        learning_rate: float = 0.01,
        sparse_gradients: Literal["auto"] | bool = "auto",
        train_metrics: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(schema, optimizer, learning_rate, **shared)
        require(embedding_dim >= 1, "embedding_dim must be at least 1", embedding_dim)
        require(
            0 <= embedding_dropout < 1,
            "embedding_dropout must be at least 0 and less than 1",
            embedding_dropout,
        )
        if sparse_gradients is True:
            require(
                self.optimizer in SPARSE_OPTIMIZERS,
                f"sparse_gradients needs an optimizer of {SPARSE_OPTIMIZERS}",
                optimizer,
            )
            require(
                not self.embedding_weight_decay,
                "embedding_weight_decay changes all rows of a table, which sparse_gradients "
                "leaves out: give only one of them",
                self.embedding_weight_decay,
            )
        self.sparse_gradients = sparse_gradients
        self.embedding = FusedEmbedding(
            self.schema,
            embedding_dim,
            embed_numerical,
            first_order,
            embedding_std,
            embedding_dropout,
            pooling,
            encoding_of(numerical_encoding, len(self.schema.numerical), numerical_bins),
        )
        splits = ("train/", "val/", "test/") if train_metrics else ("val/", "test/")
        self.metrics = MetricDict({split: ClickMetrics() for split in splits})
        # no modules, which summaries of a model would list; of data without lists there are none
        self.ranking: dict[str, RankingMetrics] = {}

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """Also the embeddings, and the first-order weights where there are any."""
        numerical = tuple(field.name for field in schema.numerical)
        of_ids = (*schema.categorical, *schema.lists)
        owners = tuple(field.name for field in of_ids if not field.vocabulary)
        first_order = (
            FieldRows("embedding.table", owners, -1),  # the last column of `FusedEmbedding`
            FieldRows("embedding.numerical_weight", numerical),
        )
        return replace(
            super().describe(schema, options),
            embeddings=(FieldRows("embedding.table", owners),),
            first_order=first_order if options.get("first_order") else (),
        )

    @torch.compiler.disable  # it would compile anew at every batch that is kept
    def _score(  # pyright: ignore[reportIncompatibleMethodOverride]  # `disable` has no types
        self, logits: Tensor, batch: Batch, split: str
    ) -> None:
        if split in self.metrics:
            self.metrics[split].update(logits, batch.label, batch.weight, batch.group)
        # the few batches of a sanity check hold no whole lists
        if batch.query is not None and split in RANKED and not self.trainer.sanity_checking:
            metrics = self.ranking.setdefault(split, RankingMetrics()).to(logits.device)
            metrics.update(logits, batch.label, batch.query)

    def metric_names(self, split: str, batch: Any) -> set[str]:
        """Also those of groups and of ranked lists, where the batch is of such."""
        names = super().metric_names(split, batch)
        if getattr(batch, "group", None) is not None and split in self.metrics:
            names.add(f"{split}gauc")
        if getattr(batch, "query", None) is not None and split in RANKED:
            names |= {split + name for name in RankingMetrics().names}
        return names

    def _measure(self, split: str) -> dict[str, Tensor]:
        """`auc` and `logloss`; `gauc` of groups; of ranked lists also `hr@10` and `ndcg@10`."""
        values = super()._measure(split)
        if split in self.ranking and self.ranking[split].update_called:
            values |= self.ranking[split].compute()
            self.ranking[split].reset()
        return values

    def setup(self, stage: str) -> None:
        """Fits the bins of numbers, and chooses the form of the embedding gradients."""
        super().setup(stage)
        if stage == "fit":
            self._fit_bins()
        if isinstance(self.sparse_gradients, bool):
            self.embedding.sparse = self.sparse_gradients
        else:
            alone = self.trainer.world_size == 1
            clipped = self.trainer.gradient_clip_val is not None
            fits = self.optimizer in SPARSE_OPTIMIZERS and not self.embedding_weight_decay
            self.embedding.sparse = alone and not clipped and fits

    def _fit_bins(self) -> None:
        """Fits the bins of numbers, unless they are those of weights that were loaded."""
        encoding = self.embedding.encoding
        if encoding is None or encoding.is_fitted:
            return
        data = datamodule_of(self.trainer)
        if data is None:
            raise ZooError(
                "model.numerical_encoding needs the quantiles of the training rows: fit with a "
                "zoo.ZooDataModule, or call model.embedding.encoding.fit first"
            )
        quantiles = data.numerical_quantiles(self.embedding.bins)
        # batches may differ between processes
        encoding.fit(self.trainer.strategy.broadcast(quantiles))
