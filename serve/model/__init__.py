"""A decoder for Llama, Qwen2 and Qwen3: files, layers, kernels."""
