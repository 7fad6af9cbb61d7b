"""A run that scores DataFrames: `zoo.load(run).predict(df)`."""

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric.utilities import move_data_to_device

from zoo.data.batch_checks import row_numbers
from zoo.data.encoder import check_encoder, encoder_checksums, numerical_means
from zoo.data.errors import ZooError
from zoo.data.module import EncodedTable, ZooDataModule
from zoo.data.plain import read_json
from zoo.inspect.checkpoint import read
from zoo.models.base import ZooModule
from zoo.models.installed import folders_of
from zoo.models.registry import model_class
from zoo.run.directory import checkpoint_of, run_of
from zoo.run.frames import checked_frame, table_of
from zoo.run.inspect import data_of

if TYPE_CHECKING:
    import pandas as pd

    from zoo.export.folder import Format
    from zoo.export.graph import Output
    from zoo.export.quantized import EmbeddingType
    from zoo.inspect.edited import Edited


ATTRIBUTION = "attribution_"  # of the names of columns of predictions


class LoadedRun:
    """A checkpoint of a run, and what turns the rows of a DataFrame into its input.

    Attributes:
        path: The run directory.
        checkpoint: The checkpoint.
        model: Its model, in evaluation, on the CPU.
        data: Its datamodule, with the encoder of the run.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.path = run_of(checkpoint)
        self.checkpoint = checkpoint.resolve()
        content = read(checkpoint)
        config = self.path / "config.yaml"
        for needed in (config, self.path / "encoder"):
            if not needed.exists():
                raise ZooError(
                    f"{checkpoint} lies in no run directory, which has the encoder of its rows: "
                    f"there is no {needed}"
                )
        self.model = _model_of(checkpoint, content)
        self.data: ZooDataModule = data_of(config, checkpoint)
        check_encoder(content.get("data"), encoder_checksums(self.path / "encoder"))
        if difference := self.model.schema.difference(self.data.schema):
            raise ZooError(f"{checkpoint} has another schema than {config}: {difference}")
        self._saved = content.get("metrics") or {}

    def __repr__(self) -> str:
        named = ", ".join(f"{k}={v:.4f}" for k, v in self.metrics.items() if "/" in k and v)
        return f"{type(self.model).__name__} of {self.path} ({named})"

    def __reduce__(self) -> tuple[Any, ...]:
        """As another process takes it: it loads the files again."""
        return LoadedRun, (self.checkpoint,)

    @cached_property
    def metrics(self) -> Mapping[str, float | None]:
        """What `metrics.json` says; of another checkpoint than best.ckpt, the metrics it holds."""
        file = self.path / "metrics.json"
        if self.checkpoint.name == "best.ckpt" and file.is_file():
            return read_json(file)
        return self._saved

    def predict(self, df: "pd.DataFrame") -> "pd.Series":
        """The probability of each row that its label is 1.

        The numbers are those of the command `predict`, on a CPU, of the same rows as Parquet. No
        file is written.

        Args:
            df: The rows, with the columns that the run's fields are read from; others, such as
                the label, are not looked at.

        Returns:
            float32 `probability`, with the index of `df`; NaN where a row cannot be used, such as
            one without a time, of which a warning says why.

        Raises:
            ZooError: where the DataFrame has no rows, lacks a column, or has one of another type.
        """
        import pandas as pd

        probability = self._scored(df)["probability"]
        return pd.Series(probability, index=df.index, name="probability")

    def attribution(self, df: "pd.DataFrame") -> "pd.DataFrame":
        """The share of each expert of a mixture in the prediction of each row.

        Args:
            df: The rows, as `predict` takes them.

        Returns:
            float32, a column for each subset of fields, with the index of `df`; the shares of a row
            add up to 1, and are NaN where a row cannot be used.

        Raises:
            ZooError: as `predict`, and where the model is no mixture of experts.
        """
        import pandas as pd

        columns = [name for name in self.model.prediction_columns if name.startswith(ATTRIBUTION)]
        if not columns:
            raise ZooError(
                f"{type(self.model).__name__} is no mixture of experts, to which predictions are "
                "attributed; explain says what each field adds to one"
            )
        scored = self._scored(df)
        shares = {name.removeprefix(ATTRIBUTION): scored[name] for name in columns}
        return pd.DataFrame(shares, index=df.index)

    def explain(
        self, df: "pd.DataFrame", max_order: int = 4, min_gain: float = 2e-4, seed: int = 0
    ) -> "pd.DataFrame":
        """What each field, and each interaction of fields, adds to the logit of each row.

        The contributions of a row add up to its logit: those of the fields and of the interactions
        that are kept (see `zoo.glider.walsh`); of `(intercept)`, the mean logit of copies of the
        row in which each field is on or off at random; of `(weaker interactions)`, all other pairs
        together; and of `(rest)`, what these do not explain. Off is the training mean of a number,
        and a zero embedding of a category. Of a model that is a sum of terms, a glass box, the
        lines are `(intercept)`, its constant, and exactly what each term adds.

        Args:
            df: The rows, as `predict` takes them.
            max_order: Largest number of fields in an interaction.
            min_gain: Share of the variance of the logits around a row that an interaction must
                have.
            seed: Seed of the rows that are scored around each row.

        Returns:
            For each row of `df` some lines with its index: `fields`, such as `item x hour`;
            `contribution`; `error`, its standard error, NaN of the rest; `share`, the share of the
            variance around the row, of the rest the share that stays unexplained (1 - R^2 on rows
            that the coefficients were not fitted on). The largest come first, after the intercept.

        Raises:
            ZooError: as `predict`, and where there are too few fields or the scores are not
                finite.
        """
        from zoo.glider.explained import Explainer
        from zoo.glider.walsh.search import WalshConfig
        from zoo.run.explaining.exact import AnyExplainer, ExactExplainer
        from zoo.run.explaining.python import frame_of

        found = self._encoded(df)
        if self.model.terms:
            explainer: AnyExplainer = ExactExplainer(self.model)
        else:
            means = torch.tensor(numerical_means(self.path / "encoder", self.model.schema))
            config = WalshConfig(max_order=max_order, min_gain=min_gain)
            explainer = Explainer(self.model, means, config, seed)
        return frame_of(
            explainer,
            ((row_numbers(batch).tolist(), batch) for batch in found.batches),
            df.index,
        )

    def edit(
        self,
        off: Sequence[str] = (),
        on: Sequence[str] = (),
        *,
        output: str | Path | None = None,
        keep_mean: bool = False,
        each: bool = False,
        split: str | None = "val",
    ) -> "Edited":
        """Switches terms of a glass box off or on, and says what that changes; see `edit`.

        Neither this run nor its checkpoint changes.

        Args:
            off: Names of the terms to switch off, such as `item x hour`; see `model.terms`.
            on: Names of those to switch on again.
            output: File (.ckpt) for the edited model, or folder that becomes a run directory;
                None writes nothing.
            keep_mean: Whether to move the constant so that the mean probability stays.
            each: Whether to say what switching off each of the terms that are on would cost.
            split: Rows to measure the change on, `val` or `test`; None measures nothing.

        Returns:
            What has changed: `before`, `after`, `changes`, `each`.

        Raises:
            ZooError: where the model has no terms, or not these, or the file cannot be written.
        """
        from zoo.run.editing.edit import Wanted, edit

        place = None if output is None else Path(output)
        wanted = Wanted(tuple(off), tuple(on), keep_mean, each, place)
        data = None if split is None else self.data
        return edit(self.checkpoint, wanted, data, split or "")

    def export(
        self,
        output: str | Path,
        format: "Format" = "onnx",
        outputs: "Sequence[Output]" = ("probability",),
        embeddings: "EmbeddingType" = "float32",
    ) -> None:
        """Writes a folder that serves the model without this project; see the command `export`.

        Args:
            output: Folder to write, which must not exist.
            format: Form of the graph, `onnx` or `torch_export`.
            outputs: What it gives: `probability`, `logit`, `attribution`.
            embeddings: Type that embeddings are stored in: `float32`, `float16`, `int8`.

        Raises:
            ZooError: where the model or its data cannot be exported, or the folder exists.
        """
        from zoo.export.folder import write_folder
        from zoo.export.quantized import quantized

        model = quantized(self.model, embeddings)
        write_folder(Path(output), model, self.data.serving(), outputs, format)

    def _scored(self, df: "pd.DataFrame") -> dict[str, np.ndarray]:
        """What the model predicts of each row, by name; NaN where a row cannot be used."""
        found = self._encoded(df, depth=4)
        names = [name for name in self.model.prediction_columns if name != "label"]
        scored = {name: np.full(len(df), np.nan, np.float32) for name in names}
        with torch.inference_mode():
            for batch in found.batches:
                predicted = self.model.predicted(move_data_to_device(batch, self.model.device))
                rows = row_numbers(batch).numpy()
                for name, values in scored.items():
                    values[rows] = predicted[name].float().cpu().numpy()
        return scored

    def _encoded(self, df: "pd.DataFrame", depth: int = 3) -> EncodedTable:
        frame = checked_frame(df)
        found = self.data.encode_table(table_of(frame, self.data.table_columns()))
        if found.rejected:
            reasons = ", ".join(f"{count}: {why}" for why, count in found.rejected.items())
            (row, _), *_ = found.rejected_examples
            warnings.warn(
                f"{sum(found.rejected.values())} of {len(frame)} rows cannot be used and get NaN "
                f"({reasons}); the first is row {row}, {frame.index[row - 1]!r} in the index",
                stacklevel=depth,
            )
        return found


def _model_of(path: Path, content: Mapping[str, Any]) -> ZooModule:
    """The model of a checkpoint; only an installed class is imported."""
    try:
        found = model_class(str(content.get("model_class")), folders_of(path))
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    return found.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()


def load(run: str | Path) -> LoadedRun:
    """A run, ready to score DataFrames.

    Args:
        run: A run directory, whose best checkpoint is taken, or a checkpoint in one.

    Raises:
        ZooError: where it is neither, is damaged, or its model or dataset is not installed; its
            config imports nothing else.
    """
    return LoadedRun(checkpoint_of(run))
