"""The first steps of `predict`, whose options decide what is done, before anything slow is imported."""

from collections.abc import Sequence

from pipeline.progress import Reporter


def predict(
    reporter: Reporter,
    *,
    paths: Sequence[str],
    model: str,
    output: str | None,
    as_json: bool,
    by_step: bool,
    column: str | None,
    on: str,
    trust: bool,
) -> None:
    """Classify the images at some paths: into a folder, with a file for each input, or as one table."""
    from pipeline.serving import storage
    from pipeline.serving.batches import Reading

    reading = Reading(column=column, by_step=by_step)
    if output and storage.is_folder(output) and not as_json:
        from pipeline.stages import predict_folder

        predict_folder.predict_folder(paths, model, output, reading, reporter, on=on, trust=trust)
    else:
        from pipeline.stages import predict as stage

        stage.check_local(paths, output, on)
        stage.predict(paths, model, output, reading, reporter, as_json=as_json, trust=trust)
