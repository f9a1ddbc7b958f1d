"""MQTT payloads in; how many samples came, how many came again, and which values cannot be right out."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from agent.batch import Sample, SchemaBook, UnknownSchemaError, decode, is_schema
from agent.config.model import Config, Tag
from agent.digits import shortest
from agent.model import NS_PER_S, BatchKey, Gap
from agent.simulate.signal import is_right

# Is this sample's value one that its tag can have had at its time?
Judge = Callable[[Sample], bool]

TOLERANCE_NS = NS_PER_S  # from the device taking a value to the answer's last byte, faults that delay it included


class Shown(NamedTuple):
    """The last sample of a tag, and how many came."""

    value: str
    samples: int


class Verdict:
    """The receiving side of a test: decodes, removes repeated batches by their key, judges every sample."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._schemas = SchemaBook()
        self._early: list[bytes] = []  # batches that came before their schema
        self.identities: set[tuple[str, int]] = set()
        self.keys: set[BatchKey] = set()
        self.gaps: list[Gap] = []
        self.samples = 0
        self.removed = 0  # samples of batches that came again
        self.duplicates = 0  # samples that are there twice although their batches differ
        self.wrong: list[Sample] = []
        self.latest: dict[str, Shown] = {}
        self.answering: set[str] = set()  # devices, as BUS/DEVICE, that gave at least one value

    def take(self, payload: bytes) -> None:
        """One message as it came: a batch or a schema. Raises FormatError on anything else."""
        if not is_schema(payload):
            self._take_batch(payload)
            return
        self._schemas.add(payload)
        early, self._early = self._early, []
        for batch in early:
            self._take_batch(batch)

    def received(self, kept: int, devices: Collection[str] = ()) -> dict[str, Any]:
        """The `received` part of the summary document: the agent says it kept so many samples of these devices."""
        missing = max(0, kept - self.samples)
        wrong = len(self.wrong) + max(0, self.samples - kept)
        return {
            "samples": self.samples,
            "duplicates": self.duplicates,
            "removed_duplicates": self.removed,
            "missing": missing,
            "wrong_values": wrong,
            "silent_devices": sorted(set(devices) - self.answering),
            "failures": [*self._nothing(), *_faults(missing=missing, duplicates=self.duplicates, wrong=wrong)],
        }

    def _nothing(self) -> list[str]:
        """Zero missing and zero wrong of nothing prove nothing."""
        if not self.samples:
            return ["nothing was received"]
        return [] if self.answering else ["no device gave a value"]

    def _take_batch(self, payload: bytes) -> None:
        try:
            batch = decode(payload, self._schemas)
        except UnknownSchemaError:
            self._early.append(payload)
            return
        key = BatchKey(batch.epoch, batch.seq)
        if key in self.keys:
            self.removed += sum(1 for _ in batch.samples)
            return
        self.keys.add(key)
        self.gaps += batch.gaps
        for sample in batch.samples:
            self._take_sample(sample)

    def _take_sample(self, sample: Sample) -> None:
        self.samples += 1
        identity = (sample.tag, sample.t_us)
        if identity in self.identities:
            self.duplicates += 1
        self.identities.add(identity)
        if sample.v is not None:
            self.answering.add(device_of(sample.tag))
            if not self._judge(sample):
                self.wrong.append(sample)
        before = self.latest[sample.tag].samples if sample.tag in self.latest else 0
        self.latest[sample.tag] = Shown(_shown(sample), before + 1)


def device_of(tag: str) -> str:
    """BUS/DEVICE of BUS/DEVICE/TAG."""
    return tag.rpartition("/")[0]


def simulated(config: Config) -> Judge:
    """A judge for what `fieldtap simulate` serves for `config`: by tag and time alone."""
    tags: dict[str, tuple[Tag, int]] = {
        f"{bus.name}/{device.name}/{tag.name}": (tag, device.unit)
        for bus in config.buses
        for device in bus.devices
        for tag in device.tags
    }

    def judge(sample: Sample) -> bool:
        tag, unit = tags[sample.tag]
        return is_right(tag, unit, sample.raw, sample.t_us * 1000, TOLERANCE_NS)

    return judge


def _shown(sample: Sample) -> str:
    if sample.v is None:
        return sample.q
    value = shortest(sample.v, sample.type) if isinstance(sample.v, float) else sample.v
    return f"{value} {sample.unit}".rstrip()


def _faults(**counts: int) -> list[str]:
    """Counts that should be 0 and are not, as a person reads them."""
    words = {"missing": "missing", "duplicates": "received twice", "wrong": "wrong"}
    return [f"{count} {'sample' if count == 1 else 'samples'} {words[name]}" for name, count in counts.items() if count]
