"""The HTTP side of the gateway: what may come in, from whom, and what is answered."""
