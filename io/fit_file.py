"""Fit files, beside the other formats; the format itself lies below the estimator, which saves itself in it."""

from neulvm_neo.fit_file import FitFileError, load_fit, save_fit

__all__ = ["FitFileError", "load_fit", "save_fit"]
