"""From settings to a Keras optimizer: Adam, with the schedule, decay, clipping and averaging that were asked for."""

import keras

from pipeline.settings import Settings


def build(settings: Settings, *, batches: int) -> keras.optimizers.Adam:
    """Return Adam (Kingma & Ba 2015, arXiv:1412.6980); what is off in the settings is not in its graph.

    Args:
        settings: the parameters.
        batches: updates per epoch.

    Returns:
        Not built yet. Weight decay is decoupled (Loshchilov & Hutter 2019, arXiv:1711.05101) and spares biases;
        clipping is by the norm of all gradients together (Pascanu et al. 2013, arXiv:1211.5063).
    """
    optimizer = keras.optimizers.Adam(
        _learning_rate(settings, batches),
        weight_decay=settings.weight_decay or None,
        global_clipnorm=settings.clip_norm or None,
        use_ema=settings.ema > 0,
        ema_momentum=settings.ema,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _learning_rate(settings: Settings, batches: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or its schedule: a rise from 0, then a half cosine to 0 (arXiv:1608.03983) or no fall.

    With as many epochs as those of the rise, or fewer, there is nothing but the rise.
    """
    warmup = round(settings.warmup_epochs * batches)
    if settings.schedule == "constant" and not warmup:
        return settings.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, settings.epochs * batches - warmup),
        alpha=0.0 if settings.schedule == "cosine" else 1.0,  # the fraction that is left at the end
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
