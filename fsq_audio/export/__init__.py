"""A tokenizer as graphs that run without this library's model code: ONNX, and torch.export."""
