"""In: what was made and what is true → Out: figures and pictures of them.

`quality` (PSNR, SSIM, SI-SDR), `digits` (scorers of moving_digits), `sheets` (contact sheets, curves, spectrograms).
"""
