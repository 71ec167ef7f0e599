"""What scripts/scale_table.py counts and estimates: the work of a training step, and machines that carry it out."""
