"""TOML files in, one typed configuration or every mistake out."""

from agent.config.load import check_config, load_config

__all__ = ["check_config", "load_config"]
