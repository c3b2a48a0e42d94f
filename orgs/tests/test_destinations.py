"""What may be called: every address that leads inside is refused when it is saved and when it is called."""

import http.server
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orgs import destinations, networks, organizations, outgoing
from orgs.destinations import NotAllowed, Unresolved
from orgs.models import AuditEntry

pytestmark = pytest.mark.once
PUBLIC = "93.184.215.14"
LOOPBACK = ["127.0.0.0/8"]
REFUSED = [
    "http://169.254.169.254/latest/meta-data", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://017700000001/", "http://127.1/", "http://0x7f.1/", "http://127.0.0.1./", "http://134744072/",
    "http://127.0.0.1/", "http://0.0.0.0/", "http://0/", "http://10.1.2.3/", "http://172.31.255.255/",
    "http://192.168.0.1/", "http://100.64.0.1/", "http://198.18.0.1/", "http://224.0.0.1/", "http://255.255.255.255/",
    "http://192.0.0.192/", "http://203.0.113.7/",
    "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::1]/", "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/", "http://[2606:4700::1%25eth0]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/",
    "http://[ff02::1]/", "http://[2002:7f00:1::]/", "http://[2001::1]/", "http://[2001:db8::1]/", "http://[fec0::1]/",
    f"http://a@{PUBLIC}/", "http://a@127.0.0.1/", f"http://a:b@{PUBLIC}/", f"https://@{PUBLIC}/",
    "file:///etc/passwd", "gopher://127.0.0.1:6379/_INFO", f"ftp://{PUBLIC}/", "//127.0.0.1/", "javascript:alert(1)",
    "http:/127.0.0.1/", "http://", "https:///x", "", "x", f"http://{PUBLIC}\\@127.0.0.1/", "http://１２７.0.0.1/",
    "http://①②⑦.0.0.1/", "http://127。0。0。1/", f"http://{PUBLIC}/\r\nX: y", f"http://{PUBLIC}/ a", "http://\t127.0.0.1/",
    "http://localhost/", "http://LOCALHOST./", "http://anything.localhost/", "http://[::1", "http://[v1.x]/",
    f"http://{PUBLIC}:22/", f"https://{PUBLIC}:8443/", f"http://{PUBLIC}:0/", f"http://{PUBLIC}:99999/",
    f"http://{PUBLIC}:x/", "http://a..b/", "http://-a.com/", "http://" + "a" * 64 + ".com/",
    f"http://{PUBLIC}/" + "x" * 2000,
]  # fmt: skip


def meaning(found: dict[str, list[str]]) -> Callable[..., Any]:
    """Return a resolver for which names mean what `found` says, each time the next of its addresses."""

    def look_up(host: str, port: int, **options: Any) -> Any:
        if host not in found:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        address = found[host].pop(0) if len(found[host]) > 1 else found[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in address.split()]

    return look_up


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[str]]], None]:
    """Say what names mean: there is no name server in a test."""
    return lambda found: monkeypatch.setattr(socket, "getaddrinfo", meaning(found))


@pytest.mark.parametrize("url", REFUSED)
def test_r22_what_is_inside_or_odd_is_refused_at_save_and_at_send(url: str) -> None:
    for check in (destinations.require, destinations.resolve):
        with pytest.raises(NotAllowed) as refusal:
            check(url)
        assert refusal.value.code == "destination_not_allowed"
        assert refusal.value.http_status == 400


@pytest.mark.once
@pytest.mark.parametrize("host", ["10.9.8.7", "localhost", "inside.example"])
def test_a_refusal_says_where_it_is_allowed_and_not_what_a_name_means(names: Any, host: str) -> None:
    names({"localhost": ["127.0.0.1"], "inside.example": ["192.168.1.1"]})
    with pytest.raises(NotAllowed) as refusal:
        destinations.require(f"http://{host}/")
    for place in ("Allowed networks", "POST /api/v1/internal/allowed-networks", "OUTBOUND_ALLOWED_CIDRS"):
        assert place in refusal.value.detail
    for found in (host, "127.0.0.1", "192.168"):
        assert found not in refusal.value.detail
    assert len(f"{refusal.value.code}: {refusal.value.detail}") <= 300  # a delivery keeps that much of it


@pytest.mark.parametrize("url", [f"https://{PUBLIC}/hook?a=b", f"http://{PUBLIC}:80/", "https://[2606:4700::1111]/"])
def test_a_public_address_is_taken_with_what_a_call_needs(url: str) -> None:
    found = destinations.resolve(url)
    assert (found.host, *found.addresses) in ((PUBLIC, PUBLIC), ("2606:4700::1111", "2606:4700::1111"))
    assert found.path == ("/hook?a=b" if "hook" in url else "/")


def test_a_name_is_judged_by_every_address_it_has(names: Any) -> None:
    names({"good.example": [PUBLIC], "half.example": [f"{PUBLIC} 10.0.0.1"], "inside.example": ["192.168.1.1"]})
    assert destinations.require("https://good.example/").addresses == (PUBLIC,)
    for host in ("half.example", "inside.example"):
        with pytest.raises(NotAllowed) as refusal:
            destinations.require(f"https://{host}/")
        assert "192.168" not in refusal.value.detail
        assert "10.0.0.1" not in refusal.value.detail


def test_a_name_that_means_something_else_later_is_refused_when_it_is_called(names: Any) -> None:
    names({"rebinding.example": [PUBLIC, "127.0.0.1"]})
    assert destinations.require("https://rebinding.example/").addresses == (PUBLIC,)
    with pytest.raises(NotAllowed):
        destinations.resolve("https://rebinding.example/")


def test_a_name_without_an_address_may_be_saved_and_is_asked_for_again_when_it_is_called(names: Any) -> None:
    names({})
    assert destinations.require("https://later.example/").addresses == ()
    with pytest.raises(Unresolved):
        destinations.resolve("https://later.example/")


def test_a_port_is_refused_before_its_name_has_an_address_unless_it_may_lie_in_an_allowed_network(names: Any) -> None:
    names({})
    with pytest.raises(NotAllowed, match="Port 8443 is not allowed"):
        destinations.require("https://later.example:8443/v1")
    assert destinations.require("https://later.example:8443/v1", allowed_networks=LOOPBACK).port == 8443


def test_the_controllers_own_names_are_inside(names: Any, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["moolai.example.com", ".own.example"]
    own = ["moolai.example.com", "own.example", "a.own.example", socket.gethostname()]
    names({name: [PUBLIC] for name in own})
    for host in ("moolai.example.com", "MOOLAI.example.com.", "own.example", "a.own.example", socket.gethostname()):
        with pytest.raises(NotAllowed):
            destinations.require(f"https://{host}/")


def test_an_allowed_network_may_be_called_on_any_port() -> None:
    assert destinations.resolve("http://127.0.0.1:8025/x", allowed_networks=LOOPBACK).port == 8025
    assert destinations.resolve("http://10.1.2.3/", allowed_networks=["10.1.0.0/16"]).addresses == ("10.1.2.3",)
    with pytest.raises(NotAllowed):
        destinations.resolve("http://10.2.2.3/", allowed_networks=["10.1.0.0/16"])
    with pytest.raises(NotAllowed):
        destinations.resolve("file:///etc/passwd", allowed_networks=["0.0.0.0/0"])


@pytest.mark.django_db
def test_a_superadmin_allows_networks_for_one_organization_or_for_the_installation(settings: Any) -> None:
    settings.OUTBOUND_ALLOWED_CIDRS = ["10.9.0.0/16"]
    ours, theirs = (organizations.create(name, name=name, acting_user=None) for name in ("org-001", "org-002"))
    row = networks.allow(ours, "10.1.0.0/16", acting_user=None, reason="vLLM")
    assert destinations.allowed_networks("org-001") == ("10.9.0.0/16", "10.1.0.0/16")
    assert destinations.allowed_networks(theirs.pk) == destinations.allowed_networks("") == ("10.9.0.0/16",)
    networks.refuse(row, acting_user=None)
    assert destinations.allowed_networks("org-001") == ("10.9.0.0/16",)
    actions = AuditEntry.objects.filter(action__startswith="network").values_list("action", flat=True)
    assert set(actions) == {"network.allow", "network.refuse"}


@pytest.mark.django_db
@pytest.mark.parametrize("cidr", ["10.1.0.1/16", "all", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused(cidr: str) -> None:
    ours = organizations.create("org-001", name="One", acting_user=None)
    with pytest.raises(Exception, match="fields"):
        networks.allow(ours, cidr, acting_user=None)


# --- calls -----------------------------------------------------------------------------------------------------------


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as the path says, and keeps what it was sent."""

    def do_POST(self) -> None:
        server: Any = self.server
        server.seen.append((self.path, dict(self.headers)))
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(302 if self.path == "/away" else 200)
        self.send_header("Location", f"http://127.0.0.1:{server.server_address[1]}/inside")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.seen = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def call(url: str, *, seconds: float = 5) -> outgoing.Answer:
    found = destinations.resolve(url, allowed_networks=LOOPBACK)
    return outgoing.post(found, b"{}", headers={}, until=time.monotonic() + seconds)


def test_the_call_goes_to_the_address_that_was_checked_under_the_name(receiver: Any, names: Any) -> None:
    names({"hook.example": ["127.0.0.1"]})
    port = receiver.server_address[1]
    found = destinations.resolve(f"http://hook.example:{port}/x?y=1", allowed_networks=LOOPBACK)
    names({"hook.example": ["192.0.2.1"]})
    assert outgoing.post(found, b"{}", headers={}, until=time.monotonic() + 5).status == 200
    assert [(path, headers["Host"]) for path, headers in receiver.seen] == [("/x?y=1", f"hook.example:{port}")]


def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Any) -> None:
    assert call(f"http://127.0.0.1:{receiver.server_address[1]}/away").status == 302
    assert [path for path, _ in receiver.seen] == ["/away"]


def test_no_proxy_of_the_environment_is_asked(receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert call(f"http://127.0.0.1:{receiver.server_address[1]}/").status == 200


def test_who_does_not_listen_was_not_reached(free_port: int) -> None:
    with pytest.raises(outgoing.Failed) as failure:
        call(f"http://127.0.0.1:{free_port}/")
    assert failure.value.may_have_arrived is False


def test_a_call_has_one_time_limit_however_slowly_the_answer_drips() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(outgoing.Failed, match="in time") as failure:
            call(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=0.7)
        assert time.monotonic() - began < 2
        assert failure.value.may_have_arrived is True


def drip(server: socket.socket) -> None:
    link, _ = server.accept()
    with link:
        try:
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
                link.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            pass


def test_nothing_is_sent_when_the_time_is_over(receiver: Any) -> None:
    with pytest.raises(outgoing.Failed) as failure:
        call(f"http://127.0.0.1:{receiver.server_address[1]}/", seconds=-1)
    assert failure.value.may_have_arrived is False
    assert receiver.seen == []


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("soon", None), (None, None), ("-1", None)])
def test_retry_after_is_read_as_seconds(text: str | None, seconds: float | None) -> None:
    assert outgoing._retry_after(text) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=60)
    assert 55 < (outgoing._retry_after(moment.strftime("%a, %d %b %Y %H:%M:%S GMT")) or 0) <= 60


# --- TLS -------------------------------------------------------------------------------------------------------------


def certificate(name: str, directory: Path) -> Path:
    """Write a certificate that signs itself, with its key."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = directory / "both.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(("host", "is_trusted"), [("hook.example", True), ("other.example", False)])
def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(
    host: str, is_trusted: bool, receiver: Any, names: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = certificate("hook.example", tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    outgoing.trust.cache_clear()
    names({host: ["127.0.0.1"]})
    url = f"https://{host}:{receiver.server_address[1]}/"
    try:
        if is_trusted:
            assert call(url).status == 200
            assert receiver.seen[0][1]["Host"] == f"hook.example:{receiver.server_address[1]}"
        else:
            with pytest.raises(outgoing.Failed, match="no connection") as failure:
                call(url)
            assert failure.value.may_have_arrived is False
    finally:
        outgoing.trust.cache_clear()
