"""Businesses, the people and keys that act for them, and the walls between them."""
