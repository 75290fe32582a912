"""Units of whole corpora, in tasks that many machines share: start with `run`."""
