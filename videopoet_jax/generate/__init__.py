"""In: prompts, first frames, a model's directory → Out: `Clip`s: frames and sound, ready to save as mp4."""
