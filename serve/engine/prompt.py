"""Messages and text to token ids, with the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve.errors import RequestError


def render_chat(tokenizer: Any, messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()) -> str:
    """Text of a conversation, up to where the model's answer begins.

    `messages` and `tools` have OpenAI's form, with each tool call's arguments as an object.

    Raises
    ------
    RequestError
        if the template refuses the messages, fails on them or is none.
    """
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            list(messages), tools=list(tools) or None, add_generation_prompt=True, tokenize=False
        )
    # The template is a program of the model's: it can fail with any error of Python's operators.
    except (TemplateError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        problem = " ".join(str(error).split())[:200]
        raise RequestError(f"the model's chat template refuses this: {problem}", param="messages") from error
    if not isinstance(text, str):
        raise RequestError("the model's chat template gives no text", param="messages")
    return text


def encode(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """Token ids of a text; `special` adds the tokens that begin or end every text of the model.

    This calls the Rust tokenizer itself: unlike the wrapper's methods, several threads may use it.
    """
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=special).ids)
