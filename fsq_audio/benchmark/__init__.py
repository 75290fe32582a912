"""How fast a tokenizer is on the machine at hand: what `fsq-audio benchmark` times."""
