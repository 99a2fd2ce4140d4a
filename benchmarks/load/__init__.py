"""An open-loop load on any OpenAI-compatible server, and its report in smooth goodput and related measures."""
