from pipeline.epochs import EpochRecord, best


def record(epoch: int, val_accuracy: float, val_cost: float) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        cost=1.0,
        accuracy=0.5,
        val_cost=val_cost,
        val_accuracy=val_accuracy,
        learning_rate=0.001,
        epoch_seconds=1.0,
        samples_per_second=100.0,
    )


def test_the_epoch_of_the_best_validation_accuracy_is_kept_of_equal_ones_that_of_the_lowest_cost_then_the_first() -> (
    None
):
    assert 2 == best([record(1, 0.9, 0.1), record(2, 0.95, 0.3), record(3, 0.94, 0.05)]).epoch
    assert 2 == best([record(1, 0.9, 0.3), record(2, 0.9, 0.1), record(3, 0.9, 0.2)]).epoch
    assert 1 == best([record(1, 0.9, 0.1), record(2, 0.9, 0.1)]).epoch
