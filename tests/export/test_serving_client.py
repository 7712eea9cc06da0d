"""docs/serving_client.py against a server that speaks TensorFlow Serving's REST."""

import base64
import http.server
import json
import pathlib
import runpy
import threading

import pytest

CLIENT = pathlib.Path(__file__).parents[2] / "docs" / "serving_client.py"


class Handler(http.server.BaseHTTPRequestHandler):
    """Says how long each image is; refuses empty ones."""

    def do_POST(self):
        assert self.path == "/v1/models/simclr:predict"
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        images = [base64.b64decode(i["image_bytes"]["b64"]) for i in request["instances"]]
        status, answer = (
            200,
            {
                "predictions": [
                    {"classes": request["signature_name"], "class_indices": len(i)} for i in images
                ]
            },
        )
        if not all(images):
            status, answer = 400, {"error": "Unknown image file format."}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def url():
    server = http.server.HTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/v1/models/simclr"
    server.shutdown()
    server.server_close()


def test_the_client_sends_files_and_reads_predictions(url, tmp_path):
    predict = runpy.run_path(str(CLIENT))["predict"]
    paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for path, content in zip(paths, (b"\xff\x00", b"\x89PNG"), strict=True):
        path.write_bytes(content)
    assert predict(url, paths) == [
        {"classes": "serving_default", "class_indices": 2},
        {"classes": "serving_default", "class_indices": 4},
    ]
    paths[1].write_bytes(b"")
    with pytest.raises(ValueError, match="Unknown image file format"):
        predict(url, paths)
