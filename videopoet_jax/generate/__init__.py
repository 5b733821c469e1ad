"""In: prompts, first frames, a model's directory → Out: `Clip`s: frames and sound, ready to save as mp4.

`pipeline.VideoPoet` joins the four models; `inputs` is what it is told, `clip` what it gives back.
"""
