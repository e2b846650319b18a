"""Answers to a store's questions, from an OpenAI-compatible server or from the small model in this process."""
