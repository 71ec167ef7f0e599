"""Protocols for classifiers: clean accuracy and accuracy under noise."""
