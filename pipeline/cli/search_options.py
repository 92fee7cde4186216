"""The options of a search that are no parameters of a training."""

from typing import Annotated

import typer

from pipeline.tuning.ranges import MOST_SEEDS, MOST_TRIALS, TRIALS, defaults_text

Ranges = Annotated[
    list[str] | None,
    typer.Option(
        "--range",
        metavar="<name=values>",
        help="What is searched, once per parameter: name=low..high, name=low..high:log, or name=value,value,… "
        f"Default: {defaults_text()}.",
        show_default=False,
    ),
]
Trials = Annotated[
    int | None, typer.Option("--trials", min=1, max=MOST_TRIALS, help=f"How many, at most. Default: {TRIALS}.")
]
Seconds = Annotated[
    int | None,
    typer.Option("--seconds", min=1, help="In which trials may begin; those under way end. Default: no limit."),
]
Confirm = Annotated[
    int,
    typer.Option(
        "--confirm",
        min=0,
        max=MOST_SEEDS,
        help="New seeds that the best trial and the start are compared with; 0: none. Default: 3.",
        show_default=False,
    ),
]
