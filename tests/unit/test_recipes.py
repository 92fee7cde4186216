from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from pipeline import recipes
from pipeline.cells import Cell
from pipeline.errors import UsageError
from pipeline.kinds.images import Images
from pipeline.settings import Recipe, Settings

CELLS = get_args(Cell)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("recipe", get_args(Recipe))
def test_a_recipe_gives_the_values_that_are_written_in_it(recipe: Any, cell: Any) -> None:
    settings = asdict(recipes.resolve({"recipe": recipe, "cell": cell}))

    expected = asdict(Settings()) | {"recipe": recipe, "cell": cell} | dict(recipes.RECIPES[recipe].get(cell, {}))
    assert expected == settings


@pytest.mark.parametrize("cell", CELLS)
def test_given_options_override_the_recipe(cell: Any) -> None:
    of_recipe: dict[str, Any] = {"recipe": "accurate", "cell": cell}
    given = {"augmentation": "none", "learning_rate": 0.01, "epochs": 5, "schedule": "constant"}

    assert asdict(recipes.resolve(of_recipe)) | given == asdict(recipes.resolve(of_recipe | given))


@pytest.mark.parametrize("cell", [*CELLS, "my_cells:MGU"])
@pytest.mark.parametrize("recipe", sorted({*get_args(Recipe)} - {"sequences"}))
def test_every_recipe_fits_images_of_any_size(recipe: Any, cell: str) -> None:
    settings = recipes.resolve({"recipe": recipe, "cell": cell})

    for side in (28, 8):
        assert (side**2 if recipe == "pixels" else side) == Images(height=side, width=side).resolved(settings)["steps"]


@pytest.mark.parametrize("given", [{"recipe": "lucky"}, {"recipe": ["accurate"]}, {"cell": 3, "recipe": "accurate"}])
def test_an_unknown_recipe_is_refused_like_any_wrong_value(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must be"):
        recipes.resolve(given)


@pytest.mark.parametrize(
    ("count", "given", "expected"),
    [
        (36, {}, (16, 333)),  # 3 batches
        (243, {}, (16, 62)),  # 16 batches
        (2_000, {}, (64, 31)),  # 32 batches
        (9, {}, (9, 1_000)),
        (243, {"batch_size": 81}, (81, 333)),
        (243, {"epochs": 20}, (16, 20)),
    ],
)
def test_small_sets_of_sequences_get_about_1_000_updates(
    count: int, given: dict[str, Any], expected: tuple[int, int]
) -> None:
    kind: Any = SimpleNamespace(recipe="sequences")
    data: Any = SimpleNamespace(train=SimpleNamespace(labels=range(count)), kind=kind)

    settings = recipes.fitted(recipes.resolve({"cell": "gru", **given}), data)

    assert ("sequences", *expected) == (settings.recipe, settings.batch_size, settings.epochs)
    assert pytest.approx(expected[1] / 10) == settings.warmup_epochs
