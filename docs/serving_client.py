"""Ask a model in TensorFlow Serving about image files; needs nothing but `requests`.

python serving_client.py http://localhost:8501/v1/models/simclr cat.jpg dog.png
"""

import base64
import json
import pathlib
import sys
from collections.abc import Sequence

import requests


def predict(url: str, paths: Sequence[str], signature: str = "serving_default") -> list:
    """What the model says about each image.

    Args:
      url: of the model: http://HOST:8501/v1/models/NAME, or with /versions/N or
        /labels/LABEL behind it.
      paths: image files.
      signature: one that takes encoded images.

    Returns:
      For each image a dictionary of the outputs, or the embedding when that is the only one.

    Raises:
      ValueError: the server refused the request; the message is the server's.
      requests.RequestException: the server cannot be reached.
    """
    images = [base64.b64encode(pathlib.Path(path).read_bytes()).decode() for path in paths]
    request = {
        "signature_name": signature,
        "instances": [{"image_bytes": {"b64": image}} for image in images],
    }
    response = requests.post(f"{url}:predict", json=request, timeout=60)
    answer = response.json()
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["predictions"]


if __name__ == "__main__":
    for path, prediction in zip(sys.argv[2:], predict(sys.argv[1], sys.argv[2:]), strict=True):
        print(path, json.dumps(prediction))
