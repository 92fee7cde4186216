"""The options of the commands that use a model: which one, what it answers and where to, how it is served."""

from typing import Annotated

import typer

Trust = Annotated[bool, typer.Option("--trust", help="Run the code of a model that is not of this pipeline.")]
Model = Annotated[str, typer.Option("--model", help="Its address, such as models:/mnist-gru@champion.")]

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

Host = Annotated[
    str,
    typer.Option("--host", help="Network interface; 0.0.0.0: all of them. Default: 127.0.0.1.", show_default=False),
]
Port = Annotated[int, typer.Option("--port", help="Port; 0: any free one. Default: 5001.", show_default=False)]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", help="A name by which others may ask for it, such as digits.example.com."),
]
