"""FlashForge: decode attention that reads a prefix shared by many rows once.

block tables -> `forest.Forest` (which blocks which rows share) -> `plan.Plan` (flat task and reduction arrays)
-> `torch_executor`. Triton kernels for the same plans are in `benchmarks.gpu`; no engine calls them.

Implements the mechanism of FlashForge, published as "CoDec: Prefix-Shared Decoding Kernel for LLMs"
(arXiv 2505.17694): partial attention per forest node (PAC), merged by a parallel online-softmax reduction (POR).
Deviations are listed in docs/serving.md.
"""
