"""What a GPU says about the serving layer, in one run of a few minutes: `python -m benchmarks.gpu`.

Parts: `card`, `kernels` (forest attention), `lossless` (drafts on the device), `train` (draft heads), `table`
(speculation). Each has its own time, and one that fails leaves the others alone.
"""
