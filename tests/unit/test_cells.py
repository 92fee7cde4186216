from typing import get_args

import pytest

from pipeline.cells import CELLS, Cell
from pipeline.model import network


def test_the_type_and_the_table_name_the_same_cells() -> None:
    assert get_args(Cell) == tuple(CELLS)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_has_the_matrices_of_its_layer(cell: Cell) -> None:
    layer = network.built_in(cell, 5)
    layer.build((None, 4, 3))
    shapes = {tuple(weight.shape) for weight in layer.trainable_weights if weight.name.endswith("kernel")}
    assert {(3, 5 * CELLS[cell].gates), (5, 5 * CELLS[cell].gates)} == shapes
