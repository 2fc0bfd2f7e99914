import errno
import hashlib
import logging
import shutil
import subprocess

import jax.numpy as jnp
import pytest

from mgm_jax import io
from mgm_jax.errors import CheckpointError
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.integrity import DIGESTS_FILE, recover
from tests.training.test_checkpoints import CONFIG, DATA, STATE, abstract, save

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two complete checkpoints, not to be changed."""
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (2, 5):
        save(checkpoints, step, STATE.replace(step=jnp.int32(step)), score=0.5)
    checkpoints.close()
    return folder


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def empty(file):
    file.write_bytes(b"")


def test_whatever_file_is_damaged_the_checkpoint_before_is_used(written, tmp_path, caplog):
    folder = tmp_path / "checkpoints"
    names = [path.relative_to(written / "5") for path in (written / "5").rglob("*")]
    names = [name for name in names if (written / "5" / name).is_file()]
    restored = 0
    for name in names:
        for damage in (truncate, empty, flip_a_bit, lambda file: file.unlink()):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(written, folder)
            (folder / "8.orbax-checkpoint-tmp").mkdir()
            damage(folder / "5" / name)
            caplog.clear()
            with caplog.at_level(logging.WARNING, "absl"):
                recover(folder)
            left = {path.name for path in folder.iterdir()}
            if left == {"2", "5"}:  # The damage is to what Orbax adds.
                assert str(name) in {"_CHECKPOINT_METADATA", "commit_success.txt"}
                continue
            assert left == {"2", "5.damaged"}
            assert f"step 5: {name} " in caplog.text or str(name) == "files.sha256"
            assert "resuming from the one before, of step 2" in caplog.text
            restored += 1
    assert restored > 30
    checkpoints = Checkpoints(folder)
    state, _ = checkpoints.restore(abstract())
    assert int(state.step) == 2
    save(checkpoints, 5)  # Its place is free again.
    assert checkpoints.latest_step() == 5
    checkpoints.close()


def test_without_an_intact_checkpoint_nothing_is_begun_anew(written, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    for step in (2, 5):
        truncate(folder / str(step) / "state" / "manifest.ocdbt")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"(?s)step 5: .*step 2: state/manifest\.ocdbt"):
            recover(folder)
    assert {path.name for path in folder.iterdir()} == {"2", "5"}


def test_an_interrupted_copy_does_not_count_where_another_checkpoint_is_intact(written, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    (folder / "9").mkdir()
    (folder / "8" / "state").mkdir(parents=True)
    checkpoints = Checkpoints(folder)
    assert (checkpoints.latest_step(), checkpoints.best_step()) == (5, 5)
    checkpoints.close()
    recover(folder)
    assert {path.name for path in folder.iterdir()} == {"2", "5", "8.damaged", "9.damaged"}
    for step in ("2", "5"):  # As earlier versions left them.
        (folder / step / DIGESTS_FILE).unlink()
    recover(folder)
    checkpoints = Checkpoints(folder)
    checkpoints.check(5)
    assert checkpoints.latest_step() == 5
    checkpoints.close()


def test_readers_refuse_a_damaged_checkpoint_with_the_cure(written, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    command = ["sha256sum", "--check", "--strict", DIGESTS_FILE]
    subprocess.run(command, cwd=folder / "2", check=True, stdout=subprocess.DEVNULL)
    (folder / "2" / "state" / ".nfs0").touch()  # NFS keeps deleted files that somebody still reads.
    flip_a_bit(folder / "5" / "data" / "metadata")
    checkpoints = Checkpoints(folder)
    checkpoints.check(2)
    with pytest.raises(CheckpointError, match=r"step 5 .* data/metadata .* step 2"):
        checkpoints.check(5)
    (folder / "5" / "state" / "other").touch()
    with pytest.raises(CheckpointError, match=r"files\.sha256 does not list state/other"):
        checkpoints.check(5)
    checkpoints.close()
    truncate(folder / "2" / "metrics" / "metrics")
    with pytest.raises(CheckpointError, match=r"(?s)step 2: metrics/metrics"):
        Checkpoints(folder)


def test_in_a_bucket_torn_saves_and_damage_are_found_and_the_checkpoint_before_is_used(bucket):
    folder = io.make_path(f"{bucket}/checkpoints")
    checkpoints = Checkpoints(folder, keep=3)
    for step in (2, 5, 7):
        checkpoints.save(step, STATE.replace(step=jnp.int32(step)), DATA, CONFIG, 0.5)
    checkpoints.close()
    flip_a_bit(folder / "7" / "state" / "manifest.ocdbt")
    checkpoints = Checkpoints(folder, keep=3)
    with pytest.raises(CheckpointError, match=r"state/manifest\.ocdbt .* step 5"):
        checkpoints.check(7)
    checkpoints.close()

    (folder / "2" / DIGESTS_FILE).unlink()  # Killed while it was being removed.
    (folder / "8" / "config" / "metadata").write_text("{}")  # Killed while it was being saved.
    recover(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["5", "7.damaged"]
    assert "state/manifest.ocdbt" in io.files_below(folder / "7.damaged")

    checkpoints = Checkpoints(folder, keep=3)
    state, data = checkpoints.restore(abstract())
    assert (int(state.step), data) == (5, DATA)
    checkpoints.close()


def test_a_file_that_cannot_be_read_is_damage(written, tmp_path, monkeypatch, caplog):
    folder = shutil.copytree(written, tmp_path / "checkpoints")
    read = hashlib.file_digest

    def file_digest(file, algorithm):
        if "/5/" in file.name:
            raise OSError(errno.EIO, "Input/output error")
        return read(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    recover(folder)
    assert {path.name for path in folder.iterdir()} == {"2", "5.damaged"}
    assert "step 5: a file cannot be read ([Errno 5] Input/output error)" in caplog.text
