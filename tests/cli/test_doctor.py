"""The doctor: one line a finding, with a remedy unless all is well."""

import collections
import importlib.metadata
import shutil
import subprocess

import pytest

from distill_rl.cli import doctor


def _fail_python(monkeypatch, last_line):
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=f"Traceback\n{last_line}\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)


def test_packages_of_this_installation_are_found():
    """Every version is shown."""
    finding = doctor.check_packages()
    assert finding.status == "ok"
    assert f"torch {importlib.metadata.version('torch')}" in finding.detail


def test_a_missing_package_fails(monkeypatch):
    """It is named, with the way to install it."""
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "no-such-package"))
    finding = doctor.check_packages()
    assert (finding.status, finding.detail) == ("fail", "missing: no-such-package")
    assert "pip install" in finding.remedy


@pytest.mark.parametrize(
    ("check", "remedy"),
    [
        (doctor.check_mujoco, "set MUJOCO_GL=disabled"),
        (doctor.check_ray, "pip install"),
        (doctor.check_gpu, "pip install"),
    ],
)
def test_an_import_that_crashes_is_reported_by_its_last_line(monkeypatch, check, remedy):
    """The doctor survives it."""
    _fail_python(monkeypatch, "AttributeError: no osmesa")
    finding = check()
    assert finding.status == "fail"
    assert "AttributeError: no osmesa" in finding.detail
    assert remedy in finding.remedy


def test_an_import_that_hangs_is_given_up(monkeypatch):
    """There is a deadline."""

    def run(*args, timeout, **kwargs):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert doctor.check_ray().detail == "no answer after 120 s"


def test_redis_is_optional(monkeypatch):
    """Without a server there is a warning, not a failure."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert doctor.check_redis().status == "warn"
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert doctor.check_redis() == doctor.Finding("redis", "ok", "/bin/redis-server")


def test_a_full_disk_is_a_warning(monkeypatch):
    """Under 2 GiB."""
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1024**3))
    finding = doctor.check_disk()
    assert (finding.status, finding.detail) == ("warn", "1.0 GiB free here, 1.0 GiB free temporary files")
