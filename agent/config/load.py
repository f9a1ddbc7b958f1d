"""The path of a configuration in, one typed configuration or every mistake of all its files out."""

from typing import NamedTuple

from agent.config import files
from agent.config.buses import read_buses
from agent.config.merge import merged
from agent.config.model import Config
from agent.config.nodes import Node
from agent.config.report import Remark, Report
from agent.config.uplink import read_gateway, read_mqtt, read_store
from agent.config.values import as_is, whole
from agent.config.walk import Key, read_table, read_tables
from agent.errors import ConfigError

DOCUMENT = {
    "schema": Key(whole(1, 1), required=True),
    "gateway": Key(as_is),
    "mqtt": Key(as_is),
    "store": Key(as_is),
    "bus": Key(as_is, required=True),
}


class Checked(NamedTuple):
    """What a look at the files gave; `config` is None when there are mistakes."""

    config: Config | None
    mistakes: list[Remark]
    warnings: list[Remark]


def load_config(path: str) -> Config:
    """The configuration an agent can run with, secrets read. ConfigError holds every mistake."""
    checked = check_config(path, read_secrets=True)
    if checked.config is None:
        raise ConfigError([str(mistake) for mistake in checked.mistakes])
    return checked.config


def check_config(path: str, *, read_secrets: bool = False) -> Checked:
    """Everything that can be said about the files; secrets are looked for and only read when asked."""
    report = Report()
    document = _document(path, report)
    config = _config(document, report, read_secrets=read_secrets) if document else None
    return Checked(None if report.mistakes else config, report.mistakes, report.warnings)


def _document(path: str, report: Report) -> Node | None:
    """The main file with conf.d/*.toml merged in; None when it is no TOML, for what it lacks cannot be known then."""
    document = files.read_main(path, report)
    for fragment in files.read_fragments(path, report):
        document = merged(document, fragment, report) if document else None
    return document


def _config(document: Node, report: Report, *, read_secrets: bool) -> Config:
    values = read_table(document, DOCUMENT, "the configuration", report)
    mqtt_table = values.get("mqtt")
    mqtt = read_mqtt(mqtt_table, report, read_secrets=read_secrets) if mqtt_table else None
    return Config(
        gateway=read_gateway(values.get("gateway"), report),
        mqtt=mqtt,
        store=read_store(values.get("store"), mqtt, report),
        buses=read_buses(read_tables(values, "bus", "[[bus]]"), report),
        warnings=tuple(map(str, report.warnings)),
    )
