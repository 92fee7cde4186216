"""Every parameter of the pipeline, declared once.

A field here is a Typer option, a check, and an MLflow param: its name, type,
default, range and help are read from this file by all three. Options are left
``None`` on the command line until the user gives one, so that what was given
can be told from what is a default.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import UsageError

DatasetName = Literal["mnist", "fashion-mnist", "kmnist", "digits"]
Cell = Literal["rnn", "lstm", "gru"]
Direction = Literal["forward", "bidirectional"]

MIRRORS = "mirrors"
"""The ``source`` that stands for a data set's published mirrors."""


def default_shards() -> int:
    """Return the cores this process may use, at most 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)


class DataSettings(BaseModel):
    """Which data, from where, kept where: all that `download` and `preprocess` need."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    dataset: DatasetName = Field("mnist", description="Data set: three from mirrors, or scikit-learn's 8×8 digits.")
    source: str = Field(MIRRORS, min_length=1, description="Folder or base URL with the four IDX files, or 'mirrors'.")
    data_dir: Path = Field(Path("data"), description="Folder for raw and processed data.")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return settings with the ``given`` values, the rest at their defaults.

        Raises:
            UsageError: names each parameter that is wrong, what it expects, and what came.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            raise UsageError(" ".join(_explain(problem) for problem in error.errors())) from None


class Settings(DataSettings):
    """All that a training needs. The defaults are the tutorial's."""

    cell: Cell = Field("gru", description="Recurrent cell.")
    steps: int = Field(0, ge=0, description="Time steps an image is read in; 0: its rows. Divides height × width.")
    hidden_units: int = Field(128, ge=1, le=8_192, description="Units of each recurrent layer and direction.")
    layers: int = Field(1, ge=1, le=64, description="Recurrent layers, one on top of the other.")
    direction: Direction = Field("forward", description="Read the steps forward, or in both directions.")
    learning_rate: float = Field(0.001, gt=0, description="Step size of Adam.")
    epochs: int = Field(30, ge=1, description="Passes over the training images.")
    batch_size: int = Field(128, ge=1, description="Images per update of the weights.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of the first weights and of the order of the images.")
    shards: int = Field(
        default_factory=default_shards,
        ge=1,
        le=64,
        description="Parts of a batch trained side by side on a CPU. Costs repeat for the same number only.",
        json_schema_extra={"default_text": "the cores, at most 4"},
    )

    @model_validator(mode="after")
    def _shards_fit_the_batch(self) -> Self:
        # The default gives way to a small batch; a number that the user chose does not change silently.
        if self.shards > self.batch_size:
            if "shards" in self.model_fields_set:
                raise ValueError(f"shards: expected at most batch_size ({self.batch_size}), received {self.shards}.")
            object.__setattr__(self, "shards", self.batch_size)
        return self


def _explain(problem: Any) -> str:
    """Return one sentence or two on a pydantic ``problem``: parameter, expectation, what came."""
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in problem["loc"])
    expectation = str(problem["msg"]).replace("Input should be ", "expected ", 1)
    return f"{name}: {expectation}, received {problem['input']!r}."
