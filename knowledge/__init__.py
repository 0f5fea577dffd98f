"""What businesses teach their bots: sources, documents, chunks, embeddings, retrieval."""
