"""The OpenAI HTTP interface over an engine."""
