"""A local LLM server: continuous batching, a paged prefix cache, tree drafting, an OpenAI HTTP interface."""
