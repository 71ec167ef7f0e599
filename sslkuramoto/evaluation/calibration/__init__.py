"""Protocol ``calibration``: do the confidences of a classifier match its accuracy?"""
