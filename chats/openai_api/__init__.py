"""The API that OpenAI's clients speak: completions by bots and by raw models, the list of both, embeddings."""
