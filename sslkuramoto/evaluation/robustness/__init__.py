"""Protocol ``robustness``: accuracy under attack, in several readings."""
