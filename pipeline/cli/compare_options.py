"""The options of `compare` and `report`: what is compared with what, and in which form it is shown."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="A model (models:/mnist-gru@champion) or the run of a training or comparison: exit code 3 if the best "
        "of this one is worse on the test images.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say which trainings there are to do, and about how long; do none.")
]
Parent = Annotated[str | None, typer.Option("--parent", help="The run of a comparison: its children are shown.")]
Filter = Annotated[
    str | None, typer.Option("--filter", help="An MLflow filter, such as \"tags.comparison = 'first'\".")
]
Folder = Annotated[
    Path,
    typer.Option("--output", help="Folder for the page, its tables and figures. Default: report.", show_default=False),
]
Form = Annotated[
    Literal["markdown", "csv", "json", "latex"] | None,
    typer.Option("--format", help="Print the report as one text of this form."),
]
