"""Recorded results, their verdicts, and the figures of the book."""
