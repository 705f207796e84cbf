"""A server that speaks the wire formats of OpenAI, Anthropic and Google without a model behind it,
and fails as they do: for tests, demonstrations and benchmarks."""
