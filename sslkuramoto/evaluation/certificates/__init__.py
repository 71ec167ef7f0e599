"""Certificates: a bound of the robust accuracy from below, by randomised smoothing, beside an attack from above."""
