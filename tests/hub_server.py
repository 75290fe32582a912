"""A stand-in for the hub: repositories in memory, and the endpoints to fill and to read them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

Files = dict[str, bytes]


class Hub(ThreadingHTTPServer):
    """Serves on a free port of this machine.

    Attributes:
        repositories: files of each repository by its id; every one has one branch, `main`.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Files] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def commit_of(files: Files) -> str:
    digest = hashlib.sha1(repr(sorted(files.items())).encode())
    return digest.hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path).path.strip("/").split("/")
        if self.headers.get("Authorization") != "Bearer stand-in":
            self._fail(401, "Unauthorized", "no token")
        elif parts == ["api", "validate-yaml"]:
            self._answer({"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.server.repositories.setdefault(name, {})
            self._answer({"url": f"{self.server.address}/{name}", "name": name})
        elif parts[4] == "preupload":
            files = json.loads(body)["files"]
            self._answer(
                {
                    "files": [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for file in files
                    ]
                }
            )
        elif parts[4] == "commit":
            name = "/".join(parts[2:4])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    file = line["value"]
                    content = base64.b64decode(file["content"])
                    self.server.repositories[name][file["path"]] = content
            commit = commit_of(self.server.repositories[name])
            url = f"{self.server.address}/{name}/commit/{commit}"
            self._answer({"success": True, "commitUrl": url, "commitOid": commit})
        else:
            self._fail(404, "EntryNotFound", self.path)

    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_api else parts[:2])
        files = self.server.repositories.get(name)
        if files is None:
            self._fail(404, "RepoNotFound", "Repository not found")
            return
        commit = commit_of(files)
        verb, revision, *path = parts[4:] if is_api else parts[2:]
        if revision not in ("main", commit):
            self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif verb == "revision":
            siblings = [{"rfilename": path} for path in files]
            self._answer({"id": name, "sha": commit, "siblings": siblings})
        elif verb == "tree":
            self._answer(
                [
                    {"type": "file", "path": path, "size": len(data), "oid": commit_of({"": data})}
                    for path, data in files.items()
                ]
            )
        elif "/".join(path) in files:
            data = files["/".join(path)]
            headers = {"X-Repo-Commit": commit, "ETag": f'"{commit_of({"": data})}"'}
            self._send(200, data, headers)
        else:
            self._fail(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})

    do_HEAD = do_GET

    def _answer(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _fail(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        more = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), more)

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the output of the tests clean."""


@contextmanager
def serve_hub() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
