"""What a file of interactions holds.

Shapes: d fields that were looked at.
"""

from dataclasses import dataclass, field

SIGNIFICANCE_LEVEL = 0.05  # of q-values and p-values


@dataclass(frozen=True)
class StrongRow:
    """A row in which an interaction is strong.

    Attributes:
        row: Its number in the split, as `explain --row` takes it.
        effect: What the interaction adds to its score.
        error: Standard error of that.
    """

    row: int
    effect: float
    error: float | None = None


@dataclass(frozen=True)
class InCheckpoint:
    """An interaction in one of several checkpoints; a number is None where the file lacks it.

    Attributes:
        count: Number of rows in which it was found.
        effect: What it adds to the score of a row, mean over the rows.
        size: Root of the mean square of what it adds.
        share: Share of the variance of the scores around a row, mean over the rows.
        share_low: Lower end of the 95 % interval of the share.
        share_high: Upper end of it.
        q: Q-value of the share.
    """

    count: float | None = None
    effect: float | None = None
    size: float | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    q: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the q-value is below the level."""
        return self.q is not None and self.q < SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class Interaction:
    """Fields that a model was found to join; a number is None where the file does not have it.

    Attributes:
        fields: Names of the fields.
        count: Number of rows in which it was found.
        null_count: Mean number of rows in whose permuted scores it was found.
        p_uniform: P-value under the uniform null (see `zoo.glider.surrogates.counts.summarise`).
        p_permutation: P-value of Fisher's exact test.
        q_permutation: The former, adjusted for all possible interactions.
        by: How it was found: `walsh`, `contexts` or `both`.
        effect: What it adds to the score of a row, mean over the rows.
        effect_low: Lower end of the 95 % interval of the effect.
        effect_high: Upper end of it.
        size: Root of the mean square of what it adds.
        share: Share of the variance of the scores around a row, mean over the rows.
        share_low: Lower end of the 95 % interval of the share.
        share_high: Upper end of it.
        p: P-value of the share.
        q: The former, adjusted for all interactions that were tried.
        context_share: Share of the variance that a pair has with all other fields on and with all
            off, mean over both and over the rows.
        strongest: Rows in which it is strongest, the first of all first.
        checkpoints: What it is in each of several checkpoints; empty of one.
        spread: Standard deviation of its share between them.
        agreement: Whether they say the same of the same rows: the mean cosine of what it adds in
            two of them.
        gain: What a cross field of it takes from the logloss of validation rows, beside those that
            pay and come before it (see `zoo.glider.gains.measure`).
        gain_error: Standard error of the gain.
        bins: Number of bins of its numerical fields with which the gain was measured.
        pays: Whether a cross field of it is worth having.
    """

    fields: tuple[str, ...]
    count: float | None = None
    null_count: float | None = None
    p_uniform: float | None = None
    p_permutation: float | None = None
    q_permutation: float | None = None
    by: str | None = None
    effect: float | None = None
    effect_low: float | None = None
    effect_high: float | None = None
    size: float | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    p: float | None = None
    q: float | None = None
    context_share: float | None = None
    strongest: tuple[StrongRow, ...] = ()
    checkpoints: tuple[InCheckpoint, ...] = ()
    spread: float | None = None
    agreement: float | None = None
    gain: float | None = None
    gain_error: float | None = None
    bins: int | None = None
    pays: bool | None = None

    @property
    def q_value(self) -> float | None:
        """The q-value that counts: `q` where the file has it."""
        return self.q_permutation if self.q is None else self.q

    @property
    def significant(self) -> bool:
        """Whether the q-value is below the level."""
        return self.q_value is not None and self.q_value < SIGNIFICANCE_LEVEL

    @property
    def significant_in(self) -> int:
        """Number of the checkpoints in which it is significant."""
        return sum(each.significant for each in self.checkpoints)


@dataclass(frozen=True)
class Main:
    """What a field adds by itself.

    Attributes:
        field: Its name.
        effect: What it adds to the score of a row, mean over the rows.
        share: Share of the variance of the scores around a row, mean over the rows.
    """

    field: str
    effect: float | None = None
    share: float | None = None


@dataclass(frozen=True)
class InteractionFile:
    """What a file of interactions holds, in its order.

    Attributes:
        file: Path of the file.
        model: Class of the model in which they were found; None where the file does not say.
        instances: Number of rows that were explained; None where the file does not say.
        interactions: The interactions, in the order of their rank.
        detector: How they were found; None where the file does not say.
        mains: What each field adds by itself; none where the file does not say.
        fidelity: R^2 by name.
        fields: [d] names of the fields that were looked at, in the order of the matrix.
        matrix: [d, d] mean share of the variance of each pair, and on the diagonal of each field;
            empty where the file does not say.
        gains_of: Checksums of the training and validation rows that gains were measured on; empty
            where the file does not say.
        checkpoints: Paths of the checkpoints that were compared; empty of one.
    """

    file: str
    model: str | None
    instances: int | None
    interactions: tuple[Interaction, ...]
    detector: str | None = None
    mains: tuple[Main, ...] = ()
    fidelity: dict[str, float] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    matrix: tuple[tuple[float, ...], ...] = ()
    gains_of: dict[str, str] = field(default_factory=dict)
    checkpoints: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangedRow:
    """A row in which an interaction of two models differs most.

    Attributes:
        row: Its number among the rows that were explained.
        first: What the interaction adds to the score of the first model.
        second: What it adds to that of the second.
        error: Standard error of the difference.
    """

    row: int
    first: float
    second: float
    error: float


@dataclass(frozen=True)
class InteractionChange:
    """An interaction in two models, on the same rows.

    Shares are of the mean of both models' variances around a row, so that they compare.

    Attributes:
        fields: Names of the fields.
        what: `appeared` (significant in the second model alone) or `vanished` (in the first
            alone); of those in both `changed sign`, `grew`, `shrank` or `moved` (as strong, in
            other rows); `same` where the difference is not significant.
        first: The interaction in the first model.
        second: In the second.
        difference: In the difference of their scores, second less first.
        growth: Share of the second less that of the first.
        growth_low: Lower end of its 95 % interval.
        growth_high: Upper end of it.
        rows: Rows in which both differ most.
    """

    fields: tuple[str, ...]
    what: str
    first: Interaction
    second: Interaction
    difference: Interaction
    growth: float
    growth_low: float
    growth_high: float
    rows: tuple[ChangedRow, ...] = ()
