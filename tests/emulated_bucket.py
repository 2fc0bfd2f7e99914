"""A bucket of Google Cloud Storage on this machine: an emulator for gcsfs, Orbax and TensorStore.

What they need and the emulator lacks is added here, as Cloud Storage's JSON API has it:
objects.moveTo, the generation of what is read, and reading or writing under a condition on it.
"""

import contextlib
import http
import os
import socket
from collections.abc import Iterator

import pytest

BUCKET = "bucket"


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Runs the emulator, which this process and those that it starts take for the real thing.

    Yields:
        The bucket's address.
    """
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _complete(emulator)
    os.environ |= {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}",
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        # Asks what kind a bucket is by gRPC, which the emulator does not speak.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    with emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET):
        yield f"gs://{BUCKET}"


def _complete(emulator) -> None:
    from gcp_storage_emulator.handlers import objects

    def move(request, response, storage) -> None:
        request.params["dest_bucket_name"] = request.params["bucket_name"]
        objects.copy(request, response, storage)
        objects.delete(request, response, storage)

    place = r"^/storage/v1/b/(?P<bucket_name>[-.\w]+)/o/(?P<object_id>.*[^/]+)/moveTo/o/"
    route = (place + r"(?P<dest_object_id>.*[^/]+)$", {"POST": move})
    routes = (
        (path, {method: _by_generation(handler) for method, handler in methods.items()})
        for path, methods in emulator.HANDLERS
    )
    emulator.HANDLERS = (route, *routes)


def _by_generation(handler):
    """A handler that minds generations; that of an object that is not there is 0."""

    def handle(request, response, storage) -> None:
        name = request.query.get("name", [(request.params or {}).get("object_id")])[0]
        objects = storage.objects.get((request.params or {}).get("bucket_name"), {})
        generation = objects.get(name, {}).get("generation", "0")
        # A session of an upload has been asked at its beginning.
        asked = {} if "upload_id" in request.query else request.query
        if asked.get("ifGenerationMatch", [generation])[0] != generation:
            response.status = http.HTTPStatus.PRECONDITION_FAILED
        elif asked.get("ifGenerationNotMatch", [None])[0] == generation:
            response.status = http.HTTPStatus.NOT_MODIFIED
        else:
            handler(request, response, storage)
            if request.method == "GET" and name in objects:
                response["x-goog-generation"] = generation

    return handle
