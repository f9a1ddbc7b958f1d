"""The summary document has what docs/STATISTICS.md says it has, and nothing that it does not."""

import re
from pathlib import Path
from typing import Any

import pytest

from agent import summary
from agent.acquire import statistics
from agent.acquire.diagnosis import Uart
from agent.acquire.events import Event, Kind
from agent.acquire.statistics import Asked, BusStats, Counts, DeviceStats, Mishap, Silences, Spans
from agent.store import StoreStats

DOCS = Path(__file__).parents[1] / "docs"
PAGE = " ".join((DOCS / "STATISTICS.md").read_text().split())  # wherever its lines end
EXPLAINED = set(re.findall(r"`([\w.-]+)`", PAGE))
MUCH = 2**63 - 1  # what centuries of the fastest bus do not count


def everything(count: int = 1) -> dict[str, Any]:
    """A document without an empty part."""
    counts = Counts(*[count] * len(Counts._fields))
    took = Spans(count, 1.28, 2.56, 5.12, ((1.28, count),))
    mishap = Mishap(1.5, "wrong CRC", Asked(1, 3, 100, 2), "01 03")
    device = DeviceStats(1, counts, took, took, mishap, True, Silences(0.3, 0.2))
    bus = BusStats(
        counts, 0, 0.5, "open", "", {"meter": device}, 0.25, took, ("a note",), "noise", Uart(9, 1, 1, 1, 1), (9, 2, 1)
    )
    store = StoreStats(**dict.fromkeys(StoreStats._fields, 0))
    event = Event(1, 10**9, Kind.DEVICE_BAD, "rs485", "meter", "fails")
    return summary.document(10**9, summary.Counts(), {"rs485": bus}, [event], store, None)


def keys_of(value: Any) -> set[str]:
    if isinstance(value, list | tuple):
        return set().union(*map(keys_of, value))
    return set(value).union(*map(keys_of, value.values())) if isinstance(value, dict) else set()


def test_every_key_is_explained() -> None:
    assert keys_of(everything()) - {"rs485", "meter"} - EXPLAINED == set()


@pytest.mark.parametrize("word", [*Kind, *filter(None, statistics.KINDS)])
def test_every_kind_of_event_and_of_error_is_explained(word: str) -> None:
    assert word in PAGE or word.startswith("exception")


def test_a_century_of_counting_is_written_out_exactly() -> None:
    text = summary.as_json(everything(MUCH))
    assert f'"transactions":{MUCH},' in text
    assert f"[[1.28,{MUCH}]]" in text


def test_an_event_says_when_it_was_in_unix_time() -> None:
    (event,) = everything()["events"]
    assert event.pop("t") > 1_500_000_000
    assert event == {"kind": "device-bad", "bus": "rs485", "device": "meter", "words": "fails"}
