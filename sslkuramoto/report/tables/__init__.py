"""Tables of runs and studies: one summary; text, LaTeX, HTML, CSV."""
