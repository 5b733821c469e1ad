"""In: files and folders of media, or rendered worlds → Out: dicts of numpy arrays, by index, batched.

`media` (read and write video, sound, pictures), `sources` (a folder of clips, moving digits), `token_records` (codes
kept in files), `moving_digits` (the world whose truth is known), `loader` (batches with a state that resumes).
"""
