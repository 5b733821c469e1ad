"""In: files and folders of media, or rendered worlds → Out: dicts of numpy arrays, by index, batched.

`media` reads and writes video, sound and pictures; `sources` are a folder of clips and moving digits, by index, and
`sound_folder` one of sounds; `items` are folders and manifests of any size, decoded item by item, and `tfds_source`
data sets of TFDS; `moving_digits` is the world whose truth is known, `vizdoom_play` that of games; `token_records`
keeps codes in files; `loader` makes batches of any of these, with a state that resumes.
"""
