"""An EAGLE-3-style autoregressive head, the side-by-side of DART: the same layer, run d times instead of
once.

Step 1 is DART's real row. Step t takes the layer's own output of step t - 1 as its features and the
embedding of the token drafted there. Training rolls the steps out with the true tokens (EAGLE-3's
training-time test), every prefix in its own block, so the layer learns on its own features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from serve.spec_decode.dart_head import DraftHead
from serve.spec_decode.training.losses import Answered, Losses, Target, decayed_kl


def rollout_losses(
    head: DraftHead, target: Target, answer: Answered, anchors: Sequence[int], gamma: float
) -> Losses:
    """Run every real row once and then the anchors' blocks step by step; the loss is `decayed_kl`'s."""
    tokens, last = answer.tokens, len(answer.tokens) - 2
    g = head.fc(answer.taps[:last].float())
    z = head.real_rows(g, target.embedding[tokens[1 : last + 1]])
    device = tokens.device
    positions = torch.arange(last, device=device)
    keys, values = head.keys_values(z, positions)
    causal = torch.ones(last, last, dtype=torch.bool, device=device).tril()
    hidden = head.finish(g, head.attend(head.queries(z, positions), keys, values, causal))
    first = positions[answer.prompt_length - 1 :]
    rows, depth, teacher_row = [hidden[first]], [torch.ones_like(first)], [first + 1]
    anchor_rows = torch.as_tensor(anchors, dtype=torch.long, device=device)
    visible = positions <= anchor_rows[:, None]
    state, own = hidden[anchor_rows], torch.eye(len(anchor_rows), dtype=torch.bool, device=device)
    for t in range(2, head.config.depth + 1):
        # Past the end of the answer there is no true token; the row is computed all the same and not used.
        fed = tokens[(anchor_rows + t).clamp(max=len(tokens) - 1)]
        z = head.real_rows(state, target.embedding[fed])
        more_keys, more_values = head.keys_values(z, anchor_rows + t - 1)
        keys, values = torch.cat([keys, more_keys]), torch.cat([values, more_values])
        visible = torch.cat([visible, own], 1)
        attended = head.attend(head.queries(z, anchor_rows + t - 1), keys, values, visible)
        state = head.finish(state, attended)
        inside = anchor_rows + t <= last
        rows.append(state[inside])
        depth.append(torch.full((int(inside.sum()),), t, device=device))
        teacher_row.append((anchor_rows + t)[inside])
    joined: Tensor = torch.cat(rows)
    return decayed_kl(head, target, answer, joined, torch.cat(depth), torch.cat(teacher_row), gamma)
