"""Sources of scenes: images with the object that each pixel belongs to, generated or in published layouts."""
