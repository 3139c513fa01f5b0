"""numba kernels: arrays in, arrays out; no objects, no checks.

A kernel that other kernels call is inlined (``forceinline=True``). Otherwise several compiled copies of it meet in a
process, optimised in different company; which of them runs depends on what was compiled and what came from numba's disk
cache, and the last bits of a fit would follow.
"""
