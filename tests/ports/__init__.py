"""The same networks written natively in torch, Keras and Flax, and what is done with them.

Images are (batch, 8, 8, 1), tokens (batch, length), rows (batch, 8, 8), in every framework.
"""
