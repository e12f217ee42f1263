"""Logs that follow the checkpoint: a resumed run cuts each file back to its cursor and continues it."""

from paddle_resume.loggers.jsonl import JsonlLogger, read_records
from paddle_resume.loggers.log_file import Logger
from paddle_resume.loggers.visualdl import VisualDLLogger, read_images, read_scalars, read_values

__all__ = ["JsonlLogger", "Logger", "VisualDLLogger", "read_images", "read_records", "read_scalars", "read_values"]
