"""Protocols for boards: whether puzzles are solved."""
