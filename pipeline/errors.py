"""What goes wrong in a way that a user can mend.

    PipelineError           a failure: exit code 1
    ├── DataError           a file, folder or mirror does not hold what it should
    ├── TrainingError       the training itself broke down (a cost that is not finite)
    ├── TrackingError       the MLflow server or a run on it is not what was asked for
    └── UsageError          a parameter is wrong, or does not fit the data: exit code 2

A message is one paragraph that says what, what was expected, what was
received, and what to try; it names the parameter, file or address. Only the
command line catches these and prints them; anything else that is raised is a
bug and keeps its traceback.
"""


class PipelineError(Exception):
    """A failure whose message is written for the user."""

    exit_code = 1


class DataError(PipelineError):
    """A file, folder or mirror does not hold what it should."""


class TrainingError(PipelineError):
    """The training broke down."""


class TrackingError(PipelineError):
    """The MLflow server does not answer, or holds no such run."""


class UsageError(PipelineError):
    """A parameter is out of range, or does not fit the data."""

    exit_code = 2
