import pytest

from history.config import DEFAULT_MASK, ConfigError, HistoryConfig


def test_it_listens_beyond_this_machine_only_with_a_secret():
    with pytest.raises(ConfigError, match="HISTORY_SECRET"):
        HistoryConfig.from_env({"HISTORY_HOST": "0.0.0.0"})

    assert HistoryConfig.from_env({"HISTORY_HOST": "0.0.0.0", "HISTORY_SECRET": "s"}).secret == "s"
    assert HistoryConfig.from_env({"HISTORY_HOST": "::1"}).loopback


def test_every_fault_is_named_at_once():
    with pytest.raises(ConfigError) as raised:
        HistoryConfig.from_env(
            {"HISTORY_ARGUMENTS": "some", "HISTORY_DATABASE": "a/b", "HISTORY_DAYS": "0"}
        )

    assert len(raised.value.faults) == 3


@pytest.mark.parametrize(
    ("word", "events"), [("", True), ("true", True), ("false", False), ("0", False)]
)
def test_a_flag_is_read_as_everywhere(word: str, events: bool):
    assert HistoryConfig.from_env({"HISTORY_EVENTS": word}).events is events


def test_the_mask_is_patterns_in_lower_case():
    assert HistoryConfig.from_env({}).mask == DEFAULT_MASK
    assert HistoryConfig.from_env({"HISTORY_MASK": "PIN, card_*"}).mask == ("pin", "card_*")
