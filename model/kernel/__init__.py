"""The kernel's paths, file by file under the kernel's own names."""
