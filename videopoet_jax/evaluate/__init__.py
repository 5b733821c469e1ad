"""In: what was made and what is true → Out: figures and pictures of them.

`quality` has PSNR, SSIM and spectral distance; `digits` scores a clip of moving digits against its prompt,
`digit_table` whole systems beside their ceilings and cheats; `sheets` draws contact sheets, curves and spectrograms.
`codecs` runs H.265 and H.266, `vmaf` VMAF, `lpips` LPIPS of videos; `rate_distortion` compares systems at equal bits,
`rate_figure` draws it.
"""
