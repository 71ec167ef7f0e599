"""Protocol ``robustness``: accuracy under attack, read in several ways."""
