"""The three networks: masked autoencoder, latent decoder and diffusion transformer.

Masks and noise are always arguments and never drawn inside a network, and every training
forward returns one loss per volume: what a test, an audit and DP-SGD need.
"""
