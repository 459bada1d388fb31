"""Records and their limits, decoding, redaction and validation: the one door into the journal."""
