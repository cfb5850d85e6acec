"""What a coordinator and a site say to each other for linear probes.

Each message is one JSON text and at most one flat float64 array, in which come one behind the other
what the text announces; see `braing3n.evaluation.probe_wire`.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from braing3n.yaml_files import Digest, StrictModel

# No sum over fewer people leaves a site.
MIN_SUBJECTS = 5
MAX_PROBES = 32
MAX_CLASSES = 64
# Of one message: models whose terms are asked for, and numbers that a reply may hold (512 MiB).
MAX_MODELS = 1000
MAX_NUMBERS = 2**26
# How often a run may ask a site about one task with coefficients of its own choice. Chosen
# coefficients ask for chosen sums; a fit by Newton steps takes ten to forty, and as many again
# where a site is lost on the way, or the coordinator was.
MAX_EXCHANGES = 120
MAX_VOLUMES = 1_000_000

ProbeName = Annotated[str, Field(
    pattern=r"^[a-z0-9][a-z0-9-]{0,39}(/(ridge|lda|logistic|cox))?$",
    description="a task's name, or a name and a method, such as sex/logistic")]
ClassName = Annotated[str, Field(min_length=1, max_length=60)]
Count = Annotated[int, Field(ge=0, le=MAX_VOLUMES)]
People = Annotated[int, Field(ge=MIN_SUBJECTS, le=MAX_VOLUMES)]
# Won pairs are halves where scores are equal.
Pairs = Annotated[float, Field(ge=0, le=MAX_VOLUMES**2)]
Weight = Annotated[float, Field(gt=0, le=MAX_VOLUMES)]

Phase = Literal["sums", "terms", "scores"]
# Why a site takes no part in a task: its settings or its own bound on questions, a definition that
# is not the installed one, or too few people.
Refusal = Literal["policy", "digest", "cohort"]


class ModelOrder(StrictModel):
    """One model whose loss is asked for.

    Attributes:
        task: What it tells.
        class_name: The class that it tells from the rest; None in survival.
        frame: The place of its standardisation in the array.
        inside: What a row of the class weighs.
        outside: What a row of the rest weighs.
        wants: The loss with its derivatives, or alone.
    """

    task: ProbeName
    class_name: ClassName | None = None
    frame: Annotated[int, Field(ge=0)]
    inside: Weight = 1.0
    outside: Weight = 1.0
    wants: Literal["derivatives", "loss"]


class ProbeOrder(StrictModel):
    """What a site is asked for.

    Attributes:
        phase: Sums to fit from, terms of losses at some coefficients, or scores of what was fitted.
        tasks: The tasks, each with the digest of its definition. Sites run those that they have
            installed; a definition is never sent.
        num_frames: For terms: of centres and scales, in front of the array.
        models: For terms: the models, whose coefficients follow in the array.
        classes: For terms and scores: each task's classes, in the order of the models' columns.
    """

    phase: Phase
    tasks: Annotated[dict[ProbeName, Digest], Field(min_length=1, max_length=MAX_PROBES)]
    num_frames: Annotated[int, Field(ge=0, le=MAX_MODELS)] = 0
    models: Annotated[tuple[ModelOrder, ...], Field(max_length=MAX_MODELS)] = ()
    classes: Annotated[dict[ProbeName, Annotated[tuple[ClassName, ...], Field(
        max_length=MAX_CLASSES)]], Field(max_length=MAX_PROBES)] = Field(default_factory=dict)


class _Sums(StrictModel):
    """Sums over some volumes.

    Attributes:
        num: Volumes.
        num_subjects: People that they are of.
    """

    num: Count
    num_subjects: People

    @model_validator(mode="after")
    def _volumes_are_of_people(self) -> "_Sums":
        if self.num_subjects > self.num:
            raise ValueError("as many volumes as people, or more")
        return self


class CellReport(_Sums):
    """The moments of one class, which are in the array, or of everybody.

    Attributes:
        num_events: Of survival: volumes whose time is that of an event.
    """

    num_events: Count = 0

    @model_validator(mode="after")
    def _events_are_some(self) -> "CellReport":
        if self.num_events > self.num:
            raise ValueError("no more events than volumes")
        return self


class PairSums(_Sums):
    """Pairs of volumes of one site that a model puts in an order.

    Attributes:
        won: Those in the right order, one half where scores are equal.
        possible: All of them.
    """

    won: Pairs = 0.0
    possible: Pairs = 0.0

    @model_validator(mode="after")
    def _won_are_some(self) -> "PairSums":
        if self.won > self.possible or self.possible > self.num * MAX_VOLUMES:
            raise ValueError("no more pairs won than there are")
        return self


class ClassSums(PairSums):
    """Held-out volumes of one class; pairs are of one of them and one of another class.

    Attributes:
        num_right: Those that the model names rightly.
    """

    num_right: Count

    @model_validator(mode="after")
    def _right_are_some(self) -> "ClassSums":
        if self.num_right > self.num:
            raise ValueError("no more named rightly than there are")
        return self


class ErrorSums(_Sums):
    """Held-out volumes' values and what a regression says of them.

    Attributes:
        mean: Of values and of guesses.
        scatter: Sums of squares and products about the means: of values, of both, of guesses.
        absolute: Sum of absolute errors.
    """

    mean: tuple[float, float]
    scatter: tuple[float, float, float]
    absolute: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _squares_are_not_negative(self) -> "ErrorSums":
        if self.scatter[0] < 0 or self.scatter[2] < 0:
            raise ValueError("sums of squares of 0 and more")
        return self


class TaskReport(StrictModel):
    """What a site gives for one task, or why it gives nothing.

    Attributes:
        refusal: Why not.
        cells: For sums: by class, in the order in which they are in the array.
        classes: For scores of a classification.
        errors: For scores of a regression; None where too few are held out.
        pairs: For scores of survival; None where too few are held out.
    """

    refusal: Refusal | None = None
    cells: Annotated[dict[ClassName, CellReport], Field(max_length=MAX_CLASSES)] = Field(
        default_factory=dict)
    classes: Annotated[dict[ClassName, ClassSums], Field(max_length=MAX_CLASSES)] = Field(
        default_factory=dict)
    errors: ErrorSums | None = None
    pairs: PairSums | None = None


class ProbeReport(StrictModel):
    """What a site answers: for each task that it was asked about."""

    tasks: Annotated[dict[ProbeName, TaskReport], Field(max_length=MAX_PROBES)]
