"""In: files and folders of media, or rendered worlds → Out: batches of sequences, in an order that resumes.

media             video, sound and pictures of files, read and written
items             folders, manifests and named sources of any size, item by item (`film_windows`, `tfds_source`)
sources           a folder of clips and moving digits, by index; `sound_folder` one of sounds
moving_digits     the world whose truth is known; `vizdoom_play` that of games, a named source too
curation          annotates clips; `curation_filter` chooses by a table of rules, `curation_report` shows what it chose
views             a clip as tasks show it: with holes (`painting`), as flow and depth (`structure`)
token_records     codes in files, by index; `token_shards` writes them, `beam_shards` has clusters do it
task_batches      records and rates of tasks → sequences, in groups of equal length (`grouping`) or packed (`packing`)
loader            batches of anything that has an index, with a state
mixtures          the same tasks in SeqIO's registry, with the converter of `features`
"""
