"""OTLP out: encoding, configuration, delivery, and the collector's file format."""
