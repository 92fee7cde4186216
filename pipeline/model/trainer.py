"""Train a stock Keras classifier epoch by epoch, at the machine's speed.

    trainer = Trainer.of(settings, data)
    for record in trainer.epochs(30):
        print(record.val_accuracy)      # or store trainer.snapshot(), log the record, break
    model = trainer.best_model()

It uses neither a store nor a terminal: callers act between two epochs. The examples stay in memory as they are kept.
One call into TensorFlow trains several batches: it gathers each by index, splits it into shards, whose graphs run in
parallel on the cores, and updates the model's variables with the sum of their gradients. On a CPU ``recurrent.py``
computes the recurrent layers; on a GPU Keras does, with cuDNN. A custom cell runs its own code.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from pipeline import cells, epochs
from pipeline.data.splits import DataSet, Split
from pipeline.epochs import EpochRecord, Snapshot
from pipeline.errors import TrainingError
from pipeline.kinds.kind import Kind, trimmed
from pipeline.model import network, optimizer, recurrent
from pipeline.settings import Settings

CHUNK_SECONDS = 0.3
"""Target length of a call into TensorFlow, in seconds: Ctrl-C and progress wait for its end."""

MOST_SKIPPED = 0.1
"""Highest fraction of an epoch's batches that may be skipped; over many steps, a gradient can overflow now and then."""

MOST_UNUSED = 0.02
"""Highest fraction of the examples that an epoch may leave out to have full batches only."""

Numbers = NDArray[Any]

Distortions = tuple[tf.Tensor, ...]
"""How images are distorted: tensors (N, …), one for each kind of distortion."""

OnBatches = Callable[[int, int, int], None]
"""Called with (epoch, batches done, batches in total) a few times a second."""


class Trainer:
    """Trains ``model`` in place.

    All randomness (the order of the examples, their augmentation, dropout) is a function of
    (seed, epoch) alone; the order of sequences also depends on their lengths. Costs depend on neither the
    threads nor the progress calls: the same seed, shards and machine give the same bits.

    An epoch trains on full batches, and leaves out the rest of the shuffled examples. If the
    rest is more than 2 % of them, it is a smaller last batch.

    Args:
        settings: the parameters.
        train: training examples, at least one batch.
        validation: the examples of ``validate``.
        kind: the kind of the examples.
        classes: number of classes.
        fast: whether to compute the recurrent layers by ``recurrent.py``; by default on a
            machine without a GPU. False: a batch is one shard.

    Attributes:
        model: raw examples → probabilities (B, C), see ``network.build``.
        optimizer: a Keras optimizer. If it averages the weights (``use_ema``), the averages are
            validated and kept.
        batches: number of batches in an epoch.
        history: a record per finished epoch.

    Raises:
        UsageError: a parameter does not fit the data.
    """

    def __init__(
        self,
        settings: Settings,
        train: Split,
        validation: Split,
        *,
        kind: Kind,
        classes: int,
        fast: bool | None = None,
    ) -> None:
        self._settings, self._kind = settings, kind
        self._full, rest = divmod(len(train.labels), settings.batch_size)
        unused = 0 if kind.uses_all else MOST_UNUSED * len(train.labels)
        self._last = rest if rest > unused else 0  # size of a smaller last batch, if any
        self.batches = self._full + bool(self._last)
        keras.utils.set_random_seed(settings.seed)  # for custom cells; this also frees the graphs of earlier trainers
        self.model = network.build(settings, kind, classes=classes)
        self.optimizer = optimizer.of(settings, self.model.trainable_variables, batches=self.batches)
        on_cores = not tf.config.list_physical_devices("GPU") if fast is None else fast
        self._fast = on_cores and not cells.is_custom(settings.cell)
        self._shards = settings.shards if on_cores and (self._fast or not self._adds_losses()) else 1
        self._stock = keras.Model(self.model.inputs, self.model.layers[-1].input)
        self._variables = [variable.value for variable in self.model.trainable_variables]
        self._train, self._validation = (
            (tf.constant(split.examples), tf.constant(split.labels)) for split in (train, validation)
        )
        self._lengths = kind.lengths(self._train[0])
        self._skipped = tf.Variable(0, trainable=False)
        self._chunk = 1
        self.history: list[EpochRecord] = []
        self._best_weights: Sequence[Numbers] = []
        self._began = time.perf_counter()
        self._train_chunk = tf.function(self._chunk_graph, autograph=False)
        self._train_last = tf.function(self._train_batch, autograph=False)
        self._validate = tf.function(self._validation_graph, autograph=False)

    @classmethod
    def of(cls, settings: Settings, data: DataSet) -> Self:
        """Return a trainer on a data set."""
        return cls(settings, data.train, data.validation, kind=data.kind, classes=data.classes)

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, including the time before a restored snapshot."""
        return time.perf_counter() - self._began

    def epochs(self, last: int, on_batches: OnBatches = lambda *_: None, *, patience: int = 0) -> Iterator[EpochRecord]:
        """Train the remaining epochs up to the ``last`` one; yield the record of each.

        Args:
            last: the number of the last epoch.
            on_batches: called with the progress of an epoch.
            patience: early-stopping patience in epochs; 0 disables it.

        Raises:
            TrainingError: a cost is not finite.
        """
        while len(self.history) < last and not epochs.is_out_of_patience(self.history, patience):
            record = self.epoch(len(self.history) + 1, on_batches)
            self.history.append(record)
            if epochs.best(self.history) is record:
                self._best_weights = self.weights()
            yield record

    def epoch(self, number: int, on_batches: OnBatches = lambda *_: None) -> EpochRecord:
        """Train one pass over the examples, and validate; the cost of a batch is the one before its update.

        Args:
            number: number of the epoch; it determines the random order, augmentation and dropout.
            on_batches: called with the progress.

        Raises:
            TrainingError: a cost is not finite, or the gradients of too many batches are not.
        """
        learning_rate = round(float(self.optimizer.learning_rate), 9)  # float32: 0.001 would be 0.0010000000474974513
        begin, cpu_begin = time.perf_counter(), time.process_time()
        self._skipped.assign(0)
        count = len(self._train[1])
        order = self._kind.order(self._lengths, count, self._settings, number)
        distortions = self._kind.distortions(self._settings, count, number)
        self._seed_dropout(number)
        costs: list[float] = []
        hits = 0
        for chunk_costs, chunk_hits in self._chunks(order, distortions):
            costs.extend(chunk_costs.tolist())
            hits += int(chunk_hits.sum())
            self._check(costs, number)
            on_batches(number, len(costs), self.batches)
        sizes = [self._settings.batch_size] * self._full + [self._last] * bool(self._last)
        cost = np.average(costs, weights=sizes if self._last else None)
        seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
        val_cost, val_accuracy = self.validate()
        return EpochRecord(
            epoch=number,
            cost=float(cost),
            accuracy=hits / sum(sizes),
            val_cost=val_cost,
            val_accuracy=val_accuracy,
            learning_rate=learning_rate,
            epoch_seconds=seconds,
            samples_per_second=sum(sizes) / seconds,
            epoch_cpu_seconds=cpu_seconds,
        )

    def validate(self) -> tuple[float, float]:
        """Return mean cross-entropy in nats and accuracy on the validation examples, of the averaged weights if any.

        Raises:
            TrainingError: the cost is not finite.
        """
        with self._averaged():
            total, hits = self._validate()
        count = len(self._validation[1])
        cost = float(total) / count
        if not np.isfinite(cost):
            raise self._breakdown("in the validation", f"the cost is {cost}")
        return cost, int(hits) / count

    def snapshot(self) -> Snapshot:
        """Return the state of the run: all that changes from epoch to epoch."""
        return Snapshot(
            history=list(self.history),
            state=_state(self.model, self.optimizer),
            best_weights=self._best_weights,
            seconds=self.seconds,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Resume from a snapshot of a run with the same settings and data: the next epoch gives the same numbers."""
        for variable, value in zip([*self.model.variables, *self.optimizer.variables], snapshot.state, strict=True):
            variable.assign(value)
        self.history, self._best_weights = list(snapshot.history), snapshot.best_weights
        self._began = time.perf_counter() - snapshot.seconds

    def begin_again(self, settings: Settings) -> None:
        """Start like a new trainer whose settings differ at most by the seed; keep the graphs and the examples."""
        self._settings = settings
        model = network.build(settings, self._kind, classes=self.model.output_shape[-1])
        state = _state(model, optimizer.of(settings, model.trainable_variables, batches=self.batches))
        self.restore(Snapshot(history=[], state=state, best_weights=[], seconds=0))

    def best_model(self) -> keras.Model:
        """Return the model with the weights of the best epoch; the run cannot continue after that."""
        self.model.set_weights(self._best_weights)
        return self.model

    def weights(self) -> list[Numbers]:
        """Return the weights that are validated: the averages, if any."""
        with self._averaged():
            return list(self.model.get_weights())

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Replace the weights by their averages, if any, within the block."""
        if not self.optimizer.use_ema:
            yield
            return
        weights = [variable.numpy() for variable in self.model.trainable_variables]
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        try:
            yield
        finally:
            for variable, value in zip(self.model.trainable_variables, weights, strict=True):
                variable.assign(value)

    def _adds_losses(self) -> bool:
        """Return whether a custom cell adds losses, which belong to a whole batch."""
        self.model(self._kind.sample(), training=True)
        return bool(self.model.losses)

    def _seed_dropout(self, number: int) -> None:
        """Make dropout depend on seed, epoch and layer alone; each shard of a batch counts up from here.

        The last layer has the seed itself: most networks have no other.
        """
        seed = tf.constant((self._settings.seed, number * self.batches * self._shards), tf.int64)
        for layer in reversed(self.model.layers):
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign(tf.cast(seed, tf.uint32))
                seed = tf.random.experimental.stateless_fold_in(seed, 1)

    def _chunks(self, order: tf.Tensor, distortions: Distortions) -> Iterator[tuple[Numbers, Numbers]]:
        """Train the batches of an epoch, several in a call of about ``CHUNK_SECONDS``; yield their costs and hits."""
        start = 0
        while start < self._full:
            stop = min(start + self._chunk, self._full)
            begin = time.perf_counter()
            results = self._train_chunk(order, distortions, tf.constant(start), tf.constant(stop))
            costs, hits = (result.numpy() for result in results)
            # The first call includes tracing, so its time says little: from one batch, two calls find the right size.
            self._chunk = max(1, round((stop - start) * CHUNK_SECONDS / (time.perf_counter() - begin)))
            yield costs, hits
            start = stop
        if self._last:
            cost, right = self._train_last(order[-self._last :], distortions, self._last)
            yield np.atleast_1d(cost), np.atleast_1d(right)

    def _check(self, costs: list[float], number: int) -> None:
        """Raise a TrainingError if the cost of a batch of epoch ``number`` is not finite, or too many were skipped."""
        bad = np.flatnonzero(~np.isfinite(costs))
        if bad.size:
            where = f"in epoch {number}, batch {bad[0] + 1} of {self.batches}"
            raise self._breakdown(where, f"the cost is {costs[bad[0]]}")
        skipped = int(self._skipped)
        if skipped > MOST_SKIPPED * self.batches:
            problem = f"the gradients of {skipped} of its {self.batches} batches are not finite"
            raise self._breakdown(f"in epoch {number}", problem)

    def _breakdown(self, where: str, problem: str) -> TrainingError:
        return TrainingError(
            f"Training stopped {where}: {problem}. "
            f"Try a learning_rate below the present {float(self.optimizer.learning_rate):g}."
        )

    def _chunk_graph(
        self, order: tf.Tensor, distortions: Distortions, start: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train the full batches ``start`` to ``stop`` of ``order``; return the cost and the hits of each."""
        size = self._settings.batch_size

        def body(batch: tf.Tensor, costs: tf.TensorArray, hits: tf.TensorArray) -> tuple[Any, ...]:
            cost, right = self._train_batch(order[batch * size : (batch + 1) * size], distortions, size)
            return batch + 1, costs.write(batch - start, cost), hits.write(batch - start, right)

        costs, hits = (tf.TensorArray(dtype, size=stop - start) for dtype in (tf.float32, tf.int32))
        _, costs, hits = tf.while_loop(lambda batch, *_: batch < stop, body, (start, costs, hits))
        return costs.stack(), hits.stack()

    def _train_batch(self, indices: tf.Tensor, distortions: Distortions, size: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the weights by one batch of that size; return its mean cost and its hits."""
        sizes = [len(shard) for shard in np.array_split(np.arange(size), min(self._shards, size))]
        parts = [self._shard(part, distortions, size) for part in tf.split(indices, sizes)]
        costs, hits, gradients = zip(*parts, strict=True)
        summed = [tf.add_n(same) for same in zip(*gradients, strict=True)]
        if self._settings.clip_norm:
            self._apply_if_finite(summed)
        else:
            self.optimizer.apply(summed, self.model.trainable_variables)
        return tf.add_n(costs), tf.add_n(hits)

    def _apply_if_finite(self, gradients: list[tf.Tensor]) -> None:
        """Update the weights, or skip the batch if its gradients overflow, which clipping cannot repair.

        Skipping leaves weights, moments and averages alone. It counts as an update in the schedule of the learning
        rate, but not before the first update, at which Keras starts its averages.
        """

        def update() -> tf.Tensor:
            self.optimizer.apply(gradients, self.model.trainable_variables)
            return tf.constant(0)

        def skip() -> tf.Tensor:
            has_begun = self.optimizer.iterations > 0
            self.optimizer.iterations.assign_add(tf.cast(has_begun, self.optimizer.iterations.dtype))
            return tf.constant(1)

        self._skipped.assign_add(tf.cond(tf.math.is_finite(tf.linalg.global_norm(gradients)), update, skip))

    def _shard(
        self, indices: tf.Tensor, distortions: Distortions, size: int
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Return a shard's part of the mean cost of a batch of ``size``, its hits, and the gradients to descend.

        ``cost`` is without the losses that a custom cell adds, which are minimised with it.
        """
        examples, labels = (tf.gather(tensor, indices) for tensor in self._train)
        examples = self._kind.distorted(examples, *(tf.gather(each, indices) for each in distortions))
        with tf.GradientTape() as tape:
            logits = self._logits(examples, training=True)
            costs, hits = _costs(logits, labels)
            share = minimised = tf.reduce_sum(costs) / size
            if self._settings.label_smoothing:
                minimised = tf.reduce_sum(_smoothed(logits, labels, self._settings.label_smoothing)) / size
            if self._stock.losses:
                minimised += tf.add_n(self._stock.losses)
        return share, hits, tape.gradient(minimised, self._variables)

    def _validation_graph(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sum of the costs of all validation examples, and their hits."""
        examples, labels = self._validation
        count, size = len(labels), self._settings.batch_size

        def body(start: tf.Tensor, cost: tf.Tensor, hits: tf.Tensor) -> tuple[tf.Tensor, ...]:
            stop = tf.minimum(start + size, count)
            costs, right = _costs(self._logits(examples[start:stop], training=False), labels[start:stop])
            return stop, cost + tf.reduce_sum(costs), hits + right

        begin = (tf.constant(0), tf.constant(0.0), tf.constant(0))
        parallel = self._shards  # batches do not wait for each other here, unlike in training
        _, cost, hits = tf.while_loop(lambda start, *_: start < count, body, begin, parallel_iterations=parallel)
        return cost, hits

    def _logits(self, examples: tf.Tensor, *, training: bool) -> tf.Tensor:
        lengths = self._kind.lengths(examples)
        examples = trimmed(examples, lengths)
        if self._fast:
            return recurrent.logits(self.model, examples, lengths=lengths, training=training)
        return self._stock(examples, training=training)


def _state(model: keras.Model, adam: keras.optimizers.Adam) -> list[Numbers]:
    return [variable.numpy() for variable in [*model.variables, *adam.variables]]


def _costs(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cross-entropy of each example in nats, (B,), and how many are classified correctly."""
    labels = tf.cast(labels, tf.int32)
    right = tf.argmax(logits, axis=1, output_type=tf.int32) == labels
    costs = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return costs, tf.math.count_nonzero(right, dtype=tf.int32)


def _smoothed(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Return the cross-entropy of each example in nats (B,) to its label smoothed (Szegedy et al. 2016, 1512.00567)."""
    targets = tf.one_hot(labels, logits.shape[1])
    return keras.losses.categorical_crossentropy(targets, logits, from_logits=True, label_smoothing=smoothing)
