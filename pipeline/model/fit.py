"""The epochs of a training, one after the other: a record of each, and all that is needed to go on after it.

    fit = Fit(Trainer.of(settings, data))
    for record in fit.epochs(30):
        print(record.val_accuracy)      # or keep fit.snapshot(), log the record, break
    model = fit.model()                 # of the kept epoch

It knows no store and no terminal: what happens after an epoch is what the caller does before it asks for the next.
"""

import time
from collections.abc import Callable, Iterator, Sequence

import keras

from pipeline import records
from pipeline.model.trainer import Numbers, Trainer
from pipeline.records import EpochRecord, Snapshot

OnBatches = Callable[[int, int, int], None]
"""Told (epoch, batches done, batches in all) a few times a second."""


class Fit:
    """A training that is under way.

    Attributes:
        trainer: what trains.
        history: a record per finished epoch.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.history: list[EpochRecord] = []
        self._best_weights: Sequence[Numbers] = []
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, with that before a restored snapshot."""
        return time.perf_counter() - self._began

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of a training with the same parameters and data: to the same numbers."""
        self.trainer.restore(snapshot.state)
        self.history = list(snapshot.history)
        self._best_weights = snapshot.best_weights
        self._began = time.perf_counter() - snapshot.seconds

    def snapshot(self) -> Snapshot:
        """Return where the training stands."""
        return Snapshot(
            history=list(self.history),
            state=self.trainer.state(),
            best_weights=self._best_weights,
            seconds=self.seconds,
        )

    def epochs(
        self, last: int, on_batches: OnBatches = lambda epoch, done, total: None, *, patience: int = 0
    ) -> Iterator[EpochRecord]:
        """Train the epochs that are left up to the ``last`` one; yield the record of each.

        Args:
            last: the number of the last epoch.
            on_batches: told how far an epoch is.
            patience: epochs without one that would be kept, after which there is no further one; 0: there always is.

        Raises:
            TrainingError: a cost is not finite.
        """
        for number in range(len(self.history) + 1, last + 1):
            if records.is_out_of_patience(self.history, patience):
                return
            record = self._epoch(number, on_batches)
            self.history.append(record)
            if records.kept(self.history) is record:
                self._best_weights = self.trainer.weights()
            yield record

    def model(self) -> keras.Model:
        """Return the model with the weights of the kept epoch; the training cannot go on after that."""
        self.trainer.model.set_weights(self._best_weights)
        return self.trainer.model

    def _epoch(self, number: int, on_batches: OnBatches) -> EpochRecord:
        trainer = self.trainer
        learning_rate = round(float(trainer.optimizer.learning_rate), 9)  # float32: 0.001 reads 0.0010000000474974513
        began = time.process_time()
        trained = trainer.epoch(number, lambda done, total: on_batches(number, done, total))
        cpu_seconds = time.process_time() - began
        val_cost, val_accuracy = trainer.validate()
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
