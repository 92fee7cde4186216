"""The options of `predict`: what is answered, where the answers go, and where they are made."""

from typing import Annotated

import typer

Images = Annotated[
    list[str],
    typer.Argument(
        help="Pictures, IDX and Parquet files, and folders of them; s3://BUCKET/KEY with a folder.", metavar="PATHS..."
    ),
]
Answers = Annotated[
    str | None,
    typer.Option(
        "--output",
        help="A .csv or .parquet file for the answers, in place of print; or a folder: a file of answers for each, of "
        "which those that are missing are made.",
    ),
]
ByStep = Annotated[bool, typer.Option("--by-step", help="Write to --output what the answer would be after each step.")]
Column = Annotated[
    str | None,
    typer.Option("--column", help="Of Parquet files, with the pixels. Default: the only one of lists of numbers."),
]
OnParts = Annotated[
    str,
    typer.Option(
        "--on",
        help="Where the files of a folder are answered: local; ray: the cluster at RAY_ADDRESS; or ray://HOST:10001. "
        "Default: local.",
        show_default=False,
    ),
]
