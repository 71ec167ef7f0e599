"""Networks to measure."""

from small_networks import _one_thread, _trained, cnn, digits, noisy, some_set, subject_of

__all__ = ["_one_thread", "_trained", "cnn", "digits", "noisy", "some_set", "subject_of"]
