"""Train epoch by epoch: return a record of each epoch, and a snapshot to resume from.

    fit = Fit(Trainer.of(settings, data))
    for record in fit.epochs(30):
        print(record.val_accuracy)      # or store fit.snapshot(), log the record, break
    model = fit.model()                 # of the kept epoch

It uses neither a store nor a terminal: callers act between two epochs.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import keras

from pipeline import epochs
from pipeline.epochs import EpochRecord, Snapshot
from pipeline.model.trainer import Numbers, Trainer

OnBatches = Callable[[int, int, int], None]
"""Called with (epoch, batches done, batches in total) a few times a second."""


class Fit:
    """A run in progress.

    Attributes:
        trainer: trains an epoch.
        history: a record per finished epoch.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.history: list[EpochRecord] = []
        self._best_weights: Sequence[Numbers] = []
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, including the time before a restored snapshot."""
        return time.perf_counter() - self._began

    def restore(self, snapshot: Snapshot) -> None:
        """Resume from a snapshot of a run with the same parameters and data; the numbers stay the same."""
        self.trainer.restore(snapshot.state)
        self.history = list(snapshot.history)
        self._best_weights = snapshot.best_weights
        self._began = time.perf_counter() - snapshot.seconds

    def snapshot(self) -> Snapshot:
        """Return the state of the run."""
        return Snapshot(
            history=list(self.history),
            state=self.trainer.state(),
            best_weights=self._best_weights,
            seconds=self.seconds,
        )

    def epochs(
        self, last: int, on_batches: OnBatches = lambda epoch, done, total: None, *, patience: int = 0
    ) -> Iterator[EpochRecord]:
        """Train the remaining epochs up to the ``last`` one; yield the record of each.

        Args:
            last: the number of the last epoch.
            on_batches: called with the progress of an epoch.
            patience: early-stopping patience in epochs; 0 disables it.

        Raises:
            TrainingError: a cost is not finite.
        """
        for number in range(len(self.history) + 1, last + 1):
            if epochs.is_out_of_patience(self.history, patience):
                return
            record = self._epoch(number, on_batches)
            self.history.append(record)
            if epochs.best(self.history) is record:
                self._best_weights = self.trainer.weights()
            yield record

    def model(self) -> keras.Model:
        """Return the model with the weights of the kept epoch; the run cannot continue after that."""
        self.trainer.model.set_weights(self._best_weights)
        return self.trainer.model

    def _epoch(self, number: int, on_batches: OnBatches) -> EpochRecord:
        # float32: 0.001 would be 0.0010000000474974513
        learning_rate = round(float(self.trainer.optimizer.learning_rate), 9)
        began = time.process_time()
        trained = self.trainer.epoch(number, lambda done, total: on_batches(number, done, total))
        cpu_seconds = time.process_time() - began
        val_cost, val_accuracy = self.trainer.validate()
        return EpochRecord(
            epoch=number,
            cost=trained.cost,
            accuracy=trained.accuracy,
            val_cost=val_cost,
            val_accuracy=val_accuracy,
            learning_rate=learning_rate,
            epoch_seconds=trained.seconds,
            samples_per_second=trained.samples / trained.seconds,
            epoch_cpu_seconds=cpu_seconds,
        )
