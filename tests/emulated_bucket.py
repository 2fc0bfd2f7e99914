"""An emulated Google Cloud Storage bucket for gcsfs, Orbax and TensorStore.

Adds what they need of the JSON API and the emulator lacks: objects.moveTo, the generation of an
object in responses, and the conditions ifGenerationMatch and ifGenerationNotMatch.
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
    """Runs the emulator for this process and its children; yields the bucket's URL."""
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    _complete(emulator)
    os.environ |= {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "TENSORSTORE_GCS_HTTP_URL": f"http://127.0.0.1:{port}",
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        # Without gRPC, which the emulator lacks.
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
    """Adds conditions on generations to a handler; a missing object has generation 0."""

    def handle(request, response, storage) -> None:
        name = request.query.get("name", [(request.params or {}).get("object_id")])[0]
        objects = storage.objects.get((request.params or {}).get("bucket_name"), {})
        generation = objects.get(name, {}).get("generation", "0")
        # The condition of an upload session is checked when it starts.
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
