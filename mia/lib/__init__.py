"""The floor every app stands on: errors, API behaviour, limits, outbound HTTP, logging. Imports no app."""
