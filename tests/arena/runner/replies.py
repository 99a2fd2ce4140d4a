"""What a model that is right about everything replies."""


def right(prompt: str) -> str:
    return "[Predicted_Cell_Type: T cell][Up: KLF1][Down: MYC][Answer: CD3D]"
