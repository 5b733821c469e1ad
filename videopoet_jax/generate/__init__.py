"""In: prompts, media, a model's directory → Out: `Clip`s: frames and sound, ready to save as mp4.

`pipeline.VideoPoet` joins the four models. `inputs` is what it is told, `given` what it is shown, `clip` what it gives
back; `long` makes films of any length, `chain` puts tasks one behind the other, `presets` are words behind a prompt.
"""
