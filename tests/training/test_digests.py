import re
import shutil
import subprocess

import pytest

from mgm_jax.training import digests


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "checkpoint"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "kernel").write_bytes(bytes(range(256)))
    (folder / "config").write_text("{}")
    (folder / "later").write_text("begun")
    digests.write(folder, exclude=["later"])
    (folder / "later").write_text("ended")
    (folder / "state" / ".nfs0").touch()  # NFS keeps deleted files that somebody still reads.
    return folder


def damage(folder):
    return digests.find_damage(folder, exclude=["later"])


def test_a_folder_as_it_was_written_is_intact_to_sha256sum_too(folder):
    assert damage(folder) is None
    sha256sum = shutil.which("sha256sum")
    if sha256sum:
        command = [sha256sum, "--check", "--strict", digests.FILE]
        assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("change", "damaged"),
    [
        (lambda f: (f / "state/kernel").write_bytes(bytes(range(100))), "state/kernel "),
        (lambda f: (f / "state/kernel").write_bytes(b""), "state/kernel "),
        (lambda f: (f / "state/kernel").write_bytes(bytes(255) + b"\1"), "state/kernel "),
        (lambda f: (f / "config").unlink(), "config "),
        (lambda f: (f / "state/other").touch(), "files.sha256 .* state/other"),
        (lambda f: (f / digests.FILE).write_text(""), "files.sha256 .* config"),
        (lambda f: (f / digests.FILE).write_text("00"), "files.sha256 "),
    ],
)
def test_damage_is_named(change, damaged, folder):
    change(folder)
    assert re.match(damaged, damage(folder))
