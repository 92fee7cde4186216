"""Train a stock Keras classifier, epoch by epoch, at the machine's speed.

    trainer = Trainer.of(settings, data)
    result = trainer.epoch(1)
    cost, accuracy = trainer.validate()

The images stay in memory as uint8. A call into TensorFlow trains a run of
batches: it gathers each by index, cuts it into shards, whose graphs run side by
side on the cores, and updates the model's own variables with the sum of their
gradients. On a CPU the recurrent layers are those of ``recurrent.py``; on a GPU
they are Keras's own, which use cuDNN. A cell of one's own is computed as it is.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn, Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from pipeline import cells
from pipeline.data.splits import DataSet, Split
from pipeline.errors import DataError, TrainingError
from pipeline.model import augmentation, network, optimizers, recurrent
from pipeline.settings import Settings

CHUNK_SECONDS = 0.3
"""Aimed length of a call into TensorFlow, in seconds: Ctrl-C and progress wait for its end."""

MOST_LEFT_OUT = 0.1
"""Of an epoch's batches: those whose gradient is beyond all numbers are left out, as it can happen over many steps."""

Numbers = npt.NDArray[Any]

Distortions = tuple[tf.Tensor, ...]
"""How images are distorted: tensors (N, …), one for each kind of distortion."""


class Epoch(NamedTuple):
    """What an epoch cost and reached.

    Attributes:
        cost: mean cross-entropy over the full batches, in nats, each before its update.
        accuracy: fraction of the images that were classified right in the same pass.
        seconds: wall time of the training alone.
        samples: images trained on.
    """

    cost: float
    accuracy: float
    seconds: float
    samples: int


class Validation(NamedTuple):
    """Mean cross-entropy in nats, and the fraction that was classified right."""

    cost: float
    accuracy: float


class Trainer:
    """Trains ``model`` in place.

    All chance, the order of the images, their augmentation and what dropout leaves out, is
    a function of (seed, epoch) alone, and costs depend on neither the threads nor the progress
    calls: the same seed, shards and machine give the same bits.

    Args:
        settings: the parameters; their batches leave out a last one that is not full.
        train: what is trained on, at least one batch.
        validation: what ``validate`` measures.
        classes: number of them.
        fast: whether to compute the recurrent layers by ``recurrent.py``; by default on a
            machine without a GPU. False: a batch is one shard.

    Attributes:
        model: pixels (B, H, W) → probabilities (B, C), see ``network.build``.
        optimizer: a Keras optimizer. If it averages the weights (``use_ema``), the averages are what
            is validated and kept.
        batches: updates per epoch.

    Raises:
        UsageError: a parameter does not fit the data.
    """

    def __init__(
        self, settings: Settings, train: Split, validation: Split, *, classes: int, fast: bool | None = None
    ) -> None:
        height, width = train.images.shape[1:]
        self.batches = len(train.labels) // settings.batch_size
        self.model = network.build(settings, height=height, width=width, classes=classes)
        self.optimizer = optimizers.build(settings, batches=self.batches)
        self.optimizer.build(self.model.trainable_variables)
        self._settings, self._batch_size = settings, settings.batch_size
        on_cores = not tf.config.list_physical_devices("GPU") if fast is None else fast
        self._fast = on_cores and not cells.is_own(settings.cell)
        self._sizes = _shard_sizes(settings.batch_size, settings.shards if on_cores else 1)
        self._stock = keras.Model(self.model.inputs, self.model.layers[-1].input)
        self._variables = [variable.value for variable in self.model.trainable_variables]
        self._train, self._validation = _resident(train), _resident(validation)
        self._left_out = tf.Variable(0, trainable=False)
        self._chunk = 1
        self._train_batches = tf.function(self._chunk_graph, autograph=False)
        self._validate = tf.function(self._validation_graph, autograph=False)

    @classmethod
    def of(cls, settings: Settings, data: DataSet) -> Self:
        """Return a trainer on a data set."""
        return cls(settings, data.train, data.validation, classes=data.classes)

    def epoch(self, number: int, on_batches: Callable[[int, int], None] = lambda done, total: None) -> Epoch:
        """Train one pass over the images.

        Args:
            number: of the epoch, which settles what is random in it.
            on_batches: told (batches done, batches in all) a few times a second.

        Raises:
            TrainingError: the cost of a batch is not finite, or of too many the gradient.
        """
        begin = time.perf_counter()
        self._left_out.assign(0)
        order, distortions = _order(len(self._train[1]), self._settings.seed, number), self._distortions(number)
        self._seed_dropout(number)
        costs: list[float] = []
        hits = 0
        while len(costs) < self.batches:
            chunk_costs, chunk_hits = self._run_chunk(order, distortions, len(costs))
            self._check_finite(chunk_costs, number, len(costs))
            self._check_left_out(number)
            costs.extend(chunk_costs.tolist())
            hits += int(chunk_hits.sum())
            on_batches(len(costs), self.batches)
        samples = self.batches * self._batch_size
        return Epoch(float(np.mean(costs)), hits / samples, time.perf_counter() - begin, samples)

    def validate(self) -> Validation:
        """Return cost and accuracy on the validation images, of the averaged weights where there are any.

        Raises:
            TrainingError: the cost is not finite.
        """
        with self._averaged():
            cost, hits = self._validate()
        count = len(self._validation[1])
        if not np.isfinite(cost):
            self._break_down("in the validation", float(cost) / count)
        return Validation(float(cost) / count, int(hits) / count)

    def state(self) -> list[Numbers]:
        """Return all that changes from epoch to epoch: the variables of the model and of the optimizer."""
        return [variable.numpy() for variable in self._state_variables()]

    def restore(self, state: Sequence[Numbers]) -> None:
        """Take on a ``state`` of a trainer of the same model and optimizer: the next epoch will be as it was there.

        Raises:
            DataError: it is of another model or optimizer.
        """
        variables = self._state_variables()
        expected, received = ([tuple(each.shape) for each in arrays] for arrays in (variables, state))
        if expected != received:
            raise DataError(
                f"checkpoint: expected the state of this network, {len(expected)} arrays, received that of another, "
                f"{len(received)} arrays of other shapes. Remove it to train anew."
            )
        for variable, value in zip(variables, state, strict=True):
            variable.assign(value)

    def _state_variables(self) -> list[keras.Variable]:
        return [*self.model.variables, *self.optimizer.variables]

    def weights(self) -> list[Numbers]:
        """Return the model's weights as they are validated: averaged, where there are averages."""
        with self._averaged():
            weights: list[Numbers] = self.model.get_weights()
            return weights

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averages, where there are any, in place of the weights for a while."""
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

    def _distortions(self, number: int) -> Distortions:
        """Return how each of the N images is distorted in an epoch, for ``augmentation.apply``; none: not at all."""
        count, height, width = self._train[0].shape
        of_order, strength = (self._settings.seed, number), self._settings.distortion
        drawn = tuple(
            draw(
                count,
                height=height,
                width=width,
                seed=tf.random.experimental.stateless_fold_in(of_order, place),
                strength=strength,
            )
            for place, draw in enumerate(augmentation.DRAWS[self._settings.augmentation], start=1)
        )
        if not drawn or self._settings.augmented == 1:
            return drawn
        seed = tf.random.experimental.stateless_fold_in(of_order, 0)
        return augmentation.spare(drawn, part=1 - self._settings.augmented, seed=seed)

    def _seed_dropout(self, number: int) -> None:
        """Let what dropout leaves out depend on seed, epoch and layer alone: each shard of a batch counts on from here.

        The last layer's has the seed itself: it is the only one of most networks.
        """
        seed = tf.constant((self._settings.seed, number * self.batches * len(self._sizes)), tf.int64)
        for layer in reversed(self.model.layers):
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign(tf.cast(seed, tf.uint32))
                seed = tf.random.experimental.stateless_fold_in(seed, 1)

    def _run_chunk(self, order: tf.Tensor, distortions: Distortions, start: int) -> tuple[Numbers, Numbers]:
        """Train batches from ``start`` on for about ``CHUNK_SECONDS``; return their costs and hits."""
        stop = min(start + self._chunk, self.batches)
        begin = time.perf_counter()
        results = self._train_batches(order, distortions, tf.constant(start), tf.constant(stop))
        costs, hits = (result.numpy() for result in results)
        # The first call traces, which says little of the next: from one batch the chunk finds its size in two calls.
        self._chunk = max(1, round((stop - start) * CHUNK_SECONDS / (time.perf_counter() - begin)))
        return costs, hits

    def _check_finite(self, costs: Numbers, number: int, start: int) -> None:
        bad = np.flatnonzero(~np.isfinite(costs))
        if bad.size:
            where = f"in epoch {number}, batch {start + bad[0] + 1} of {self.batches}"
            self._break_down(where, costs[bad[0]])

    def _check_left_out(self, number: int) -> None:
        left_out = int(self._left_out)
        if left_out > MOST_LEFT_OUT * self.batches:
            received = f"none for {left_out} of its {self.batches} batches so far"
            self._break_down(f"in epoch {number}", received, "gradient")

    def _break_down(self, where: str, received: object, what: str = "cost") -> NoReturn:
        raise TrainingError(
            f"Training broke down {where}: expected a finite {what}, received {received}. It was stopped. "
            f"Try a lower learning_rate; at this point it is {float(self.optimizer.learning_rate):g}."
        )

    def _chunk_graph(
        self, order: tf.Tensor, distortions: Distortions, start: tf.Tensor, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Train batches ``start`` to ``stop`` of ``order``; return the cost and the hits of each."""

        def body(batch: tf.Tensor, costs: tf.TensorArray, hits: tf.TensorArray) -> tuple[Any, ...]:
            indices = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            cost, right = self._train_batch(indices, distortions)
            return batch + 1, costs.write(batch - start, cost), hits.write(batch - start, right)

        costs, hits = (tf.TensorArray(dtype, size=stop - start) for dtype in (tf.float32, tf.int32))
        _, costs, hits = tf.while_loop(lambda batch, *_: batch < stop, body, (start, costs, hits))
        return costs.stack(), hits.stack()

    def _train_batch(self, indices: tf.Tensor, distortions: Distortions) -> tuple[tf.Tensor, tf.Tensor]:
        """Update the weights by one batch; return its mean cost and its hits."""
        parts = [self._shard(part, distortions) for part in tf.split(indices, self._sizes)]
        costs, hits, gradients = zip(*parts, strict=True)
        summed = [tf.add_n(same) for same in zip(*gradients, strict=True)]
        if self._settings.clip_norm:
            summed = self._finite(summed)
        self.optimizer.apply(summed, self.model.trainable_variables)
        return tf.add_n(costs), tf.add_n(hits)

    def _finite(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Return the gradients of a batch, or zeros if they have grown beyond all numbers, which no clipping mends."""
        finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
        self._left_out.assign_add(1 - tf.cast(finite, tf.int32))
        return [tf.where(finite, gradient, tf.zeros_like(gradient)) for gradient in gradients]

    def _shard(self, indices: tf.Tensor, distortions: Distortions) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Return a shard's share of the batch's mean cost, its hits, and the gradients of what it has to minimise."""
        images, labels = (tf.gather(tensor, indices) for tensor in self._train)
        images = augmentation.apply(images, *(tf.gather(each, indices) for each in distortions))
        with tf.GradientTape() as tape:
            logits = self._logits(images, training=True)
            costs, hits = _costs(logits, labels)
            share = minimised = tf.reduce_sum(costs) / self._batch_size
            if self._settings.label_smoothing:
                minimised = tf.reduce_sum(_smoothed(logits, labels, self._settings.label_smoothing)) / self._batch_size
        return share, hits, tape.gradient(minimised, self._variables)

    def _validation_graph(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the sum of the costs of all validation images, and their hits."""
        images, labels = self._validation
        count = len(labels)

        def body(start: tf.Tensor, cost: tf.Tensor, hits: tf.Tensor) -> tuple[tf.Tensor, ...]:
            stop = tf.minimum(start + self._batch_size, count)
            costs, right = _costs(self._logits(images[start:stop], training=False), labels[start:stop])
            return stop, cost + tf.reduce_sum(costs), hits + right

        begin = (tf.constant(0), tf.constant(0.0), tf.constant(0))
        side_by_side = len(self._sizes)  # batches do not wait for each other here, as they do in training
        _, cost, hits = tf.while_loop(lambda start, *_: start < count, body, begin, parallel_iterations=side_by_side)
        return cost, hits

    def _logits(self, images: tf.Tensor, *, training: bool) -> tf.Tensor:
        if self._fast:
            return recurrent.logits(self.model, images, training=training)
        return self._stock(images, training=training)


def _costs(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cross-entropy of each image in nats, (B,), and how many are classified right."""
    labels = tf.cast(labels, tf.int32)
    right = tf.argmax(logits, axis=1, output_type=tf.int32) == labels
    costs = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return costs, tf.math.count_nonzero(right, dtype=tf.int32)


def _smoothed(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Return the cross-entropy of each image in nats, (B,), to its label smoothed (Szegedy et al. 2016, 1512.00567)."""
    targets = tf.one_hot(labels, logits.shape[1])
    return keras.losses.categorical_crossentropy(targets, logits, from_logits=True, label_smoothing=smoothing)


def _order(count: int, seed: int, epoch: int) -> tf.Tensor:
    """Return the numbers 0 to ``count`` - 1 in an order that is a function of ``seed`` and ``epoch`` alone."""
    return tf.random.experimental.stateless_shuffle(tf.range(count), seed=(seed, epoch))


def _shard_sizes(batch_size: int, shards: int) -> list[int]:
    """Return the sizes of the shards, as equal as can be: 10 in 4 → 3, 3, 2, 2."""
    return [batch_size // shards + (number < batch_size % shards) for number in range(shards)]


def _resident(split: Split) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images (N, H, W) and labels (N,) as uint8 tensors that stay in memory."""
    return tf.constant(split.images), tf.constant(split.labels)
