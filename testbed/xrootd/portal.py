"""The server of the issuers, over https: their documents, and the log-in of the first one.

python portal.py PORT FOLDER CERTIFICATE KEY

FOLDER is issuer/ of the site. Below /wlcg are authorize, token and userinfo of
:mod:`testbed.xrootd.oauth`; every other path is a file of issuer/public.
"""

from __future__ import annotations

import html
import http.server
import ssl
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from oauthlib.oauth2.rfc6749.errors import FatalClientError, OAuth2Error

from testbed.xrootd import issuer, oauth

_MOST = 65536  # bytes of a form
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Log in</title>
<style>body {{ font: 16px sans-serif; margin: 15vh auto; width: 20em }}
input, button {{ display: block; width: 100%; margin: .4em 0 1em; padding: .5em; font: inherit;
box-sizing: border-box }}</style>
<h1>Log in</h1>
<p>{client} wants to act for you: {scopes}</p>
<p role="alert">{problem}</p>
<form method="post">
<label>User <input name="username" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required>
</label>
<button>Log in</button>
</form></html>
"""
_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class _Portal:
    """What the issuer answers; one request at a time, so that no code is taken twice."""

    def __init__(self, folder: Path, port: int) -> None:
        self.validator = oauth.Validator(folder, port)
        self._server = oauth.server(self.validator)
        self._url = issuer.address(port, oauth.ISSUER)
        self._alone = threading.Lock()

    def authorize(self, method: str, query: str, form: Mapping[str, str]) -> Any:
        """Show the page; send who has logged in back to the client with a code."""
        uri = f"{self._url}/authorize?{query}"
        try:
            scopes, asked = self._server.validate_authorization_request(uri)
            user, problem = form.get("username", ""), ""
            if method == "POST":
                if self.validator.logs_in(user, form.get("password", "")):
                    granted = self.validator.granted(user, scopes)
                    with self._alone:
                        return self._server.create_authorization_response(
                            uri, scopes=granted, credentials={"user": user}
                        )
                problem = "User or password is wrong."
        except FatalClientError as error:  # nobody is sent to who cannot be trusted
            return _PAGE_HEADERS, html.escape(f"{error.error}: {error.description}"), 400
        except OAuth2Error as error:
            return {"Location": error.in_uri(error.redirect_uri)}, "", 302
        words = {"client": asked["client_id"], "scopes": ", ".join(scopes), "problem": problem}
        page = _PAGE.format(**{name: html.escape(word) for name, word in words.items()})
        return _PAGE_HEADERS, page, 401 if problem else 200

    def token(self, method: str, body: str, headers: Mapping[str, str]) -> Any:
        """Give tokens for a code or for a refresh token."""
        with self._alone:
            return self._server.create_token_response(
                f"{self._url}/token", http_method=method, body=body, headers=headers
            )

    def userinfo(self, method: str, headers: Mapping[str, str]) -> Any:
        """Say who the user of a token is."""
        try:
            return self._server.create_userinfo_response(f"{self._url}/userinfo", headers=headers)
        except OAuth2Error as error:
            return {"Content-Type": "application/json", **error.headers}, error.json, 401


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {"": "application/json"}  # noqa: RUF012  (as the base class has it)

    def __init__(self, portal: _Portal, *arguments: Any, **options: Any) -> None:
        self._portal = portal
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        """Answer a browser, a client, or who wants a document."""
        self._answer("GET", "") or super().do_GET()

    def do_POST(self) -> None:
        """Answer a form, or a client."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _MOST:
            self.send_error(413)
        elif not self._answer("POST", self.rfile.read(length).decode("ascii", "replace")):
            self.send_error(405)

    def list_directory(self, path: object) -> None:
        """Show no folder."""
        self.send_error(404)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say who asked for what, without codes and states: these are in the query."""
        path = urlsplit(self.path).path
        status = arguments[1] if len(arguments) > 1 else format % arguments
        sys.stderr.write(f"{self.address_string()} {self.command} {path} {status}\n")

    def _answer(self, method: str, body: str) -> bool:
        """Answer if the path is an endpoint, and say whether it is."""
        asked, headers = urlsplit(self.path), dict(self.headers)
        where = asked.path.removeprefix(f"/{oauth.ISSUER}/")
        if where == "authorize":
            form = {name: values[0] for name, values in parse_qs(body).items()}
            found = self._portal.authorize(method, asked.query, form)
        elif where == "token":
            found = self._portal.token(method, body, headers)
        elif where == "userinfo":
            found = self._portal.userinfo(method, headers)
        else:
            return False
        answered, text, status = found
        content = (text or "").encode()
        self.send_response(status)
        for name, value in {**answered, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        return True


def _serve(port: int, folder: Path, certificate: Path, key: Path) -> None:
    handler = partial(_Handler, _Portal(folder, port), directory=str(folder / "public"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    # The handshake is each connection's own thread's: a silent client must not stop the others.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), *map(Path, sys.argv[2:5]))
