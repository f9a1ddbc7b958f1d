"""Messages out of the outbox, QoS 1 publishes to a broker, acknowledgements back."""
