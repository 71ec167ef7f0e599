"""Protocol ``calibration``: are the probabilities of a classifier right?"""
