"""What accelerators can do at most, as their makers state it."""

# Dense bfloat16 operations a second, by the name that PyTorch and JAX have for the device. Data sheets give the rate
# with sparsity, twice the dense one, in brackets below.
PEAKS = {
    "NVIDIA H100 80GB HBM3": 989.5e12,  # NVIDIA H100 data sheet, SXM (1,979)
    "NVIDIA H100 PCIe": 756.5e12,  # the same, PCIe (1,513)
    "NVIDIA H200": 989.5e12,  # NVIDIA H200 data sheet, SXM (1,979)
    "NVIDIA A100-SXM4-40GB": 312e12,  # NVIDIA A100 data sheet (624)
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA L4": 121e12,  # NVIDIA L4 data sheet (242)
}
