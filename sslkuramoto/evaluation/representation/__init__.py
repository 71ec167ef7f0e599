"""Protocols for frozen features: k-NN, linear probe, clustering, finetuning."""
