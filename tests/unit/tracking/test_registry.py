import pytest

from pipeline.errors import UsageError
from pipeline.tracking import registry


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a/b", "a:b", "a@champion", "it's", "dig?2", "a#b", "100%", "a\\b", "a ", " a", "a\nb"),
        *("a\x1b[31mb", "a\u202eb", ".", "..", "-m", "n" * 257),
    ],
)
def test_a_name_that_no_address_can_hold_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name: expected a name without"):
        registry.check_name(name)


@pytest.mark.parametrize("name", ["mnist-gru", "Größe 2", "n" * 256, 'a!"$&()*+,-.;<=>[]^_`{|}~'])
def test_any_other_name_is_taken(name: str) -> None:
    registry.check_name(name)
