"""The optimizer of the settings, Adam with weight decay, and its learning-rate schedule."""

from collections.abc import Sequence

import keras

from pipeline.settings import Settings


def of(settings: Settings, variables: Sequence[keras.Variable], *, batches: int) -> keras.optimizers.Adam:
    """Return Adam (Kingma & Ba 2015, arXiv:1412.6980), built for ``variables``; disabled parts add no operations.

    Weight decay is decoupled (Loshchilov & Hutter 2019, arXiv:1711.05101). It excludes biases: variables of at most
    one dimension, and those with "bias" in their name, such as the two rows of a GRU. Clipping uses the norm of all
    gradients together (Pascanu et al. 2013, arXiv:1211.5063).

    Args:
        settings: the parameters.
        variables: the trainable weights.
        batches: number of updates per epoch.
    """
    adam = keras.optimizers.Adam(
        _learning_rate(settings, batches),
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clip_norm or None,
        use_ema=settings.ema > 0,
        ema_momentum=settings.ema,
    )
    vectors = [variable for variable in variables if len(variable.shape) <= 1]
    adam.exclude_from_weight_decay(var_list=vectors, var_names=["bias"])
    adam.build(variables)
    return adam


def _learning_rate(settings: Settings, batches: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or its schedule: a linear warm-up from 0, then a half cosine to 0 (arXiv:1608.03983).

    With the constant schedule it stays at its maximum after the warm-up. A run that is not longer than its warm-up ends
    with it.
    """
    warmup = round(settings.warmup_epochs * batches)
    if settings.schedule == "constant" and not warmup:
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, settings.epochs * batches - warmup),
        alpha=0.0 if settings.schedule == "cosine" else 1.0,  # the fraction left at the end
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
