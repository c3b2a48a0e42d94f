"""What the controller shows the world beyond its API: TLS of its own, cross-origin answers, errors sent to Sentry."""

import asyncio
import datetime as dt
import gzip
import ipaddress
import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moolai.testing.processes import wait_until
from moolai.testing.product import Installation, ServerProcess
from orchestrators.client import OrchestratorClient
from tests.fleet import organization_key

pytestmark = [pytest.mark.once, pytest.mark.services]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return certificate_path, key_path


async def test_with_tls_enabled_browsers_and_orchestrators_speak_tls(
    installation: Callable[..., Installation], certificate: tuple[Path, Path]
) -> None:
    paths = {"TLS_CERT_PATH": str(certificate[0]), "TLS_KEY_PATH": str(certificate[1])}
    place = installation(env={"TLS_ENABLED": "true", **paths})
    key = organization_key(place)
    web = place.process("serve")
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    web.spawn()
    address = f"https://127.0.0.1:{web.port}/healthz"

    def is_healthy() -> bool:
        try:
            with urllib.request.urlopen(address, context=trust, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    assert await asyncio.to_thread(wait_until, is_healthy, timeout_seconds=30)
    client = OrchestratorClient(f"wss://127.0.0.1:{web.port}/ws", "orch-tls", api_key=key, ssl_context=trust)
    async with client:
        await asyncio.wait_for(client.wait_connected(), 10)
        answer = await asyncio.wait_for(client.recommend({"over": "tls"}), 10)
        assert answer["success"] is True


def test_only_named_origins_may_call_from_a_page(web: Callable[..., ServerProcess]) -> None:
    server = web(env={"CORS_ALLOWED_ORIGINS": "https://ops.example.com"})

    def allowed(origin: str) -> str | None:
        request = urllib.request.Request(server.url("/health"), headers={"Origin": origin})
        with urllib.request.urlopen(request, timeout=5) as response:
            allowed_origin: str | None = response.headers.get("Access-Control-Allow-Origin")
            return allowed_origin

    assert allowed("https://ops.example.com") == "https://ops.example.com"
    assert allowed("https://evil.example.com") is None
    assert allowed("https://ops.example.com.evil.example") is None


class Collector(BaseHTTPRequestHandler):
    """Takes what a Sentry client posts."""

    received: list[str] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append(body.decode())
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def sentry() -> Iterator[ThreadingHTTPServer]:
    """A Sentry that listens on loopback."""
    Collector.received.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_errors_go_to_sentry_named_by_environment_and_without_secrets(
    sentry: ThreadingHTTPServer, installation: Callable[..., Installation]
) -> None:
    canary = "canary-of-the-secret-key-0123456789-0123456789-0123456789"
    dsn = f"http://public@127.0.0.1:{sentry.server_address[1]}/1"
    place = installation(env={"SENTRY_DSN": dsn, "SECRET_KEY": canary, "DEV_BEARER_TOKEN": "canary-token-0123456789"})
    script = (
        "import logging, sentry_sdk; from django.conf import settings; secret = settings.SECRET_KEY\n"
        "try:\n    raise RuntimeError('the shelf fell')\n"
        "except RuntimeError:\n    logging.getLogger('shop').exception('it broke')\n"
        "sentry_sdk.flush(5)"
    )
    place.manage("shell", "--no-imports", "-c", script)
    assert wait_until(lambda: any("the shelf fell" in text for text in Collector.received), timeout_seconds=10)
    sent = "\n".join(Collector.received)
    assert '"environment":"development"' in sent.replace(" ", "")
    assert canary not in sent
    assert "canary-token" not in sent
    assert json.loads(Collector.received[0].splitlines()[0])
