"""The KG-RAG methods that GATHER is compared with, over the same graph, candidates, answer prompt and
counted model.

tog    Think-on-Graph (Sun et al., ICLR 2024)
tog2   Think-on-Graph 2.0 (Ma et al., ICLR 2025)
rog    Reasoning on Graphs (Luo et al., ICLR 2024), the planner untrained
pog    Plan-on-Graph (Chen et al., NeurIPS 2024); Paths-over-Graph shares the acronym and is another method

All were made for questions with one or two topic entities. A gene set has fifty, and the number of
calls of three of the four grows with it: `Question.seeds` says how many genes may be topic entities,
and `calls_at_most` of each module what that costs. Temperatures are the model's (0 in the benchmark),
not the papers'.
"""
