"""What all models of rows share: embeddings and metrics.

Shapes: B batch.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from pytorch_lightning.strategies import DDPStrategy
from rich.console import Console
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import ZooError, require
from zoo.data.module import datamodule_of
from zoo.data.schema import Schema
from zoo.models.base import ZooModule
from zoo.models.class_spec import ClassSpec
from zoo.models.description import Description, FieldRows
from zoo.models.exchanged import RowExchange
from zoo.models.metrics import EXACT_ROWS, ClickMetrics, MetricDict, RankingMetrics
from zoo.models.pretrained import Pretrained, checked, take_vectors
from zoo.models.sparse import check_sparse, takes_rows
from zoo.nn.numbers import NumericalEncoding, encoding_of
from zoo.nn.pooling import Pooling
from zoo.nn.sized import embedding_of, paths_of_parts

RANKED = ("val/", "test/")  # the splits whose lists are ranked


class RowModule(RowExchange, ZooModule):
    """A model of P(y = 1) = sigmoid(logit) of one row.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        embedding_dim: Size of each field's embedding vector.
        embed_numerical: Give numerical fields an embedding too, value times vector.
        first_order: Add sum_f w_f(x_f) to the logit.
        embedding_std: Standard deviation of the initial embeddings.
        embedding_dropout: Share of the numbers in the embeddings of a row that training drops, the
            same for all parts of the model; first-order weights are kept.
        embedding_dims: Sizes of the embeddings of fields that differ from `embedding_dim`, such as
            `{user_id: 32, gender: 2}`, in models whose fields need not be of one size.
        pretrained: Vectors that the embeddings of a field begin with, or are kept at, by its name:
            a Parquet `path`, and, where their names say it not, its columns `value` and `vector`;
            `frozen: true` keeps these vectors as they are.
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
        sparse_gradients: Whether the optimizer is given gradients of the embedding table that hold
            the rows of the batch alone. `auto`: lazy_adam, and an optimizer for which this changes
            no result (adagrad, sgd), without `embedding_weight_decay`. Processes (DDP) exchange the
            rows of their batches alone, whatever it says.
        train_metrics: Log the AUC and logloss (and GAUC) of the training rows too, each as scored
            just before its step.
        exact_rows: Number of rows of a split, of all processes, up to which AUC is exact. More are
            counted in two million bins of their logits, in bounded memory: `auc_error` is logged,
            by which the AUC may be off. Rows with groups are always kept.
        shared: Options of `ZooModule`.

    Attributes:
        one_size: Whether the embeddings of all fields must be of one size, as in a model that joins
            them with each other; false in one that takes `Embedded.flat` alone.
    """

    one_size = True
    is_pretrained: Tensor

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        embedding_dim: int = 16,
        embed_numerical: bool = False,
        first_order: bool = True,
        embedding_std: float = 0.0001,
        embedding_dropout: float = 0.0,
        embedding_dims: dict[str, int] | None = None,
        pretrained: dict[str, Pretrained] | None = None,
        pooling: Pooling | dict[str, Pooling] = "mean",
        numerical_encoding: NumericalEncoding = "none",
        numerical_bins: int = 20,
        optimizer: ClassSpec = "adagrad",
        learning_rate: float = 0.01,
        sparse_gradients: Literal["auto"] | bool = "auto",
        train_metrics: bool = True,
        exact_rows: int = EXACT_ROWS,
        **shared: Any,
    ) -> None:
        super().__init__(schema, optimizer, learning_rate, **shared)
        require(embedding_dim >= 1, "embedding_dim must be at least 1", embedding_dim)
        require(
            0 <= embedding_dropout < 1,
            "embedding_dropout must be at least 0 and less than 1",
            embedding_dropout,
        )
        require(exact_rows >= 0, "exact_rows must be at least 0", exact_rows)
        check_sparse(sparse_gradients, self.optimizer, self.embedding_weight_decay)
        self.sparse_gradients: Literal["auto"] | bool = sparse_gradients
        self.pretrained = checked(pretrained, self.schema)
        frozen = [name for name, spec in self.pretrained.items() if spec.get("frozen")]
        require(
            not frozen or not self.embedding_weight_decay,
            f"embedding_weight_decay would change the frozen vectors of {', '.join(frozen)}",
            self.embedding_weight_decay,
        )
        require(
            not embedding_dims or not self.one_size,
            f"embedding_dims: {type(self).__name__} joins the embeddings of fields with each "
            "other, for which they need one size: leave it out, or take WideDeep, DCN or "
            "InterpretableMLP",
            embedding_dims,
        )
        if self.pretrained:  # plain data, so that a checkpoint loads with weights_only=True
            self.save_hyperparameters({"pretrained": self.pretrained}, logger=False)
            self.register_buffer("is_pretrained", torch.tensor(False))
        self.embedding = embedding_of(
            self.schema,
            embedding_dim,
            embedding_dims,
            embed_numerical=embed_numerical,
            first_order=first_order,
            init_std=embedding_std,
            dropout=embedding_dropout,
            pooling=pooling,
            encoding=encoding_of(numerical_encoding, len(self.schema.numerical), numerical_bins),
            frozen=frozen,
        )
        splits = ("train/", "val/", "test/") if train_metrics else ("val/", "test/")
        self.metrics = MetricDict({split: ClickMetrics(exact_rows) for split in splits})
        # no modules, which summaries of a model would list; of data without lists there are none
        self.ranking: dict[str, RankingMetrics] = {}

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """Also the embeddings, and the first-order weights where there are any."""
        embeddings, first_order = [], []
        sizes = options.get("embedding_dims")  # which earlier checkpoints do not name
        for path, part in paths_of_parts(schema, options["embedding_dim"], sizes):
            of_ids = (*part.categorical, *part.lists)
            owners = tuple(field.name for field in of_ids if not field.vocabulary)
            embeddings.append(FieldRows(f"{path}.table", owners))
            # the last column of `FusedEmbedding`
            first_order.append(FieldRows(f"{path}.table", owners, -1))
            numerical = tuple(field.name for field in part.numerical)
            first_order.append(FieldRows(f"{path}.numerical_weight", numerical))
        return replace(
            super().describe(schema, options),
            embeddings=tuple(embeddings),
            first_order=tuple(first_order) if options.get("first_order") else (),
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
        """Takes from the data what weights begin with; chooses the form of embedding gradients."""
        super().setup(stage)
        if stage == "fit":
            self._fit_bins()
            self._take_vectors()
        several = self.trainer.world_size > 1
        of_ddp = isinstance(self.trainer.strategy, DDPStrategy)
        rows_alone = takes_rows(
            self.sparse_gradients,
            self.optimizer,
            decays=bool(self.embedding_weight_decay),
            possible=of_ddp or not several,
            several=several,
        )
        # tables that processes share are exchanged as they are looked up
        exchanged = stage == "fit" and of_ddp and not self.embedding.is_shared
        self.embedding.sparse = rows_alone or exchanged
        if exchanged:
            tables = (name for name, _ in self.named_parameters() if name.endswith(".table"))
            mine = [name for name in tables if name.startswith("embedding.")]
            self.exchange_rows(mine, dense=not rows_alone)

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

    def _take_vectors(self) -> None:
        """Takes pretrained vectors, unless the weights were loaded, which have come from them."""
        if not self.pretrained or self.is_pretrained:
            return
        data = datamodule_of(self.trainer)
        encoder = data.encoder_folder if data else None
        for name, spec in self.pretrained.items():
            said = take_vectors(self.embedding, name, spec, encoder)
            if self.trainer.is_global_zero:
                Console(stderr=True).print(said, soft_wrap=True, highlight=False)
        self.is_pretrained.fill_(True)
