"""Language models on units: a Llama of transformers, what it costs it to predict, sampling."""
