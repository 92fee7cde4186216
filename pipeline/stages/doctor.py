"""Show what is installed and used, what lies where and how large it is, and whether the tracking server answers.

pipeline doctor
pipeline doctor --json
"""

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.progress import Reporter
from pipeline.settings import expanded
from pipeline.stages import diagnosis
from pipeline.stages.diagnosis import Diagnosis


def doctor(reporter: Reporter, *, data_dir: Path, as_json: bool) -> Diagnosis:
    """Return what was found, and tell the reporter.

    Args:
        reporter: told a line per finding, or JSON.
        data_dir: the folder of data.
        as_json: tell it as a JSON object.

    Raises:
        PipelineError: something is to be mended; all has been told.
    """
    found = diagnosis.diagnose(expanded(data_dir))
    if as_json:
        reporter.result(json.dumps(asdict(found), indent=2))
    else:
        width = max(len(name) for section in found.sections.values() for name in section)
        for section, lines in found.sections.items():
            told = [f"  {name.ljust(width)}   {text}" for name, text in lines.items()]
            reporter.result("\n".join([section, *told]))
    if found.problems:
        raise PipelineError(" ".join(found.problems))
    return found
