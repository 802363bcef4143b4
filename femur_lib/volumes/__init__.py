"""Volumes: files of any format in (``reader``), NIfTI and DICOM SEG out, and the axes on which we work (``stack``)."""

from femur_lib.volumes.dicom import write_dicom_seg
from femur_lib.volumes.nifti import write_volume
from femur_lib.volumes.reader import ENDING, Label, by_name, read_labels, read_mask, read_volume, scan_files, scan_name
from femur_lib.volumes.stack import (
    Forms,
    Volume,
    central_slices,
    check_same_grid,
    faces_touched,
    femur_outside,
    from_stack,
    on_grid_of,
    to_stack,
    volume_cm3,
)

__all__ = [
    "ENDING",
    "Forms",
    "Label",
    "Volume",
    "by_name",
    "central_slices",
    "check_same_grid",
    "faces_touched",
    "femur_outside",
    "from_stack",
    "on_grid_of",
    "read_labels",
    "read_mask",
    "read_volume",
    "scan_files",
    "scan_name",
    "to_stack",
    "volume_cm3",
    "write_dicom_seg",
    "write_volume",
]
