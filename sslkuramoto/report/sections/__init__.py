"""Sections of the HTML pages."""
