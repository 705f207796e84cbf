"""The sensors, one module each."""
