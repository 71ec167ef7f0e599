"""Object discovery: the map of an encoder, clustered image by image, against masks of objects."""
