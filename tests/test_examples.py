"""The examples in docstrings run, and the functions that a newcomer calls first have one."""

import doctest
import importlib
import pkgutil

import pytest

import femur_lib

MODULES = [name for _, name, is_package in pkgutil.walk_packages(femur_lib.__path__, "femur_lib.") if not is_package]
FIRST = {
    "architecture": ("cost", "parse_network", "receptive_field", "unpadded_geometry"),
    "config": ("load_profile",),
    "inference": ("largest_component", "patch_starts"),
    "losses": ("class_weights",),
    "metrics.overlap": ("overlap",),
    "metrics.surface_distance": ("distances",),
    "unet": ("unet",),
    "volumes": ("central_slices", "to_stack"),
}


@pytest.mark.parametrize("module", MODULES)
def test_examples_show_what_is_true(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in FIRST.items() for n in names])
def test_what_a_newcomer_calls_first_has_an_example(module, name):
    function = getattr(importlib.import_module(f"femur_lib.{module}"), name)
    assert any(test.examples for test in doctest.DocTestFinder(recurse=False).find(function))
