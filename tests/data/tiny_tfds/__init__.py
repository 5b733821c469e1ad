"""Data sets of TFDS in the form of the well-known ones, a few clips each; TFDS wants builders to live in a package."""
