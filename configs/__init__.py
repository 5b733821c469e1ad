"""In: a size's name → Out: an `ml_collections.ConfigDict`, every number with its source or the word `ours`."""
