"""fieldtap: Modbus and other serial devices in, compact batches over MQTT out."""
