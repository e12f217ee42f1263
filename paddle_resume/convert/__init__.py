"""Weights of torch's models for Paddle's, and safetensors in and out."""

from paddle_resume.convert.convert_file import convert_file, load_converted
from paddle_resume.convert.safetensors import read_safetensors, write_safetensors
from paddle_resume.convert.weight_sources import Source, read_source
from paddle_resume.convert.writing import write_weights

__all__ = [
    "Source",
    "convert_file",
    "load_converted",
    "read_safetensors",
    "read_source",
    "write_safetensors",
    "write_weights",
]
