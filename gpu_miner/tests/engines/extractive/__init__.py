"""Tests of the extractive engine."""
