"""Topics out of a template."""

import pytest

from agent.errors import ConfigError
from agent.uplink.topics import BUCKETS, MAX_TOPIC_BYTES, Topics, bucket_of


def test_the_default_template_gives_the_topics_of_the_contract():
    topics = Topics("fieldtap/{gateway}/{kind}", "plant7-line3")
    assert topics.data == "fieldtap/plant7-line3/data"
    assert topics.schema(bytes.fromhex("00112233445566ff")) == "fieldtap/plant7-line3/schema/00112233445566ff"


@pytest.mark.parametrize(
    ("template", "data"),
    [
        ("{bucket}/{gateway}/{kind}", f"{bucket_of('g')}/g/data"),
        ("{kind}", "data"),
        ("$aws/rules/line/{gateway}/{kind}", "$aws/rules/line/g/data"),
        ("plain", "plain"),
        ("{gateway}/{gateway}", "g/g"),
    ],
)
def test_placeholders_stand_anywhere_in_the_template(template, data):
    assert Topics(template, "g").data == data


@pytest.mark.parametrize(
    ("template", "gateway", "words"),
    [
        ("f/{gatway}", "g", "unknown placeholder"),
        ("f/{", "g", "unknown placeholder"),
        ("f/{0}", "g", "unknown placeholder"),
        ("f/{gateway.__class__}", "g", "unknown placeholder"),
        ("f/#", "g", "wildcard"),
        ("f/{gateway}", "a+b", "wildcard"),
        ("f/\0", "g", "wildcard"),
        ("", "g", "0 bytes"),
        ("f/{gateway}", "ü" * (MAX_TOPIC_BYTES // 2), "bytes"),
        ("f" * (MAX_TOPIC_BYTES - 5), "g", "bytes"),
    ],
)
def test_a_template_that_gives_no_topic_is_a_mistake_in_the_configuration(template, gateway, words):
    with pytest.raises(ConfigError, match=r"mqtt\.topic") as caught:
        Topics(template, gateway)
    assert words in str(caught.value)


def test_buckets_spread_gateways_and_stay_the_same():
    counts = [0] * BUCKETS
    for number in range(3200):
        counts[int(bucket_of(f"plant-{number}"), 16)] += 1
    assert min(counts) > 100
    assert bucket_of("plant7-line3") == "9"
