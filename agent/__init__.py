"""fieldtap: Modbus and other serial devices in, compact batches over MQTT out."""

__version__ = "0.1.0"
