"""The parts of scripts/benchmark.py: what is timed, and the plain code that it is timed against."""
