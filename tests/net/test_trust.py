"""TLS against a server whose certificate is signed by an authority made for the test."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fairlead.errors import MachineryError, UsageError
from fairlead.net import Broken, download, request
from tests.net.web import Answer, Web, serving


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of an authority's certificate, and of a server's certificate with key for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("authority")
    now = datetime.datetime.now(datetime.UTC)

    def begin(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        day = datetime.timedelta(days=1)
        return builder.not_valid_before(now - day).not_valid_after(now + day)

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = begin("root", "root", root_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = begin("leaf", "root", key).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.sign(root_key, hashes.SHA256()).public_bytes(pem))
    (folder / "leaf.pem").write_bytes(
        leaf.sign(root_key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "root.pem", folder / "leaf.pem"


@pytest.fixture
def secure(authority: tuple[Path, Path]) -> Iterator[Web]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority[1])
    with serving(context) as running:
        yield running


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "CURL_CA_BUNDLE"])
def test_a_named_authority_is_trusted(
    secure: Web, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(authority[0]))
    secure.answers["/x"] = Answer(body=b"private")
    assert request("GET", secure.url + "/x").body == b"private"


def test_an_unknown_authority_is_not(secure: Web) -> None:
    with pytest.raises(MachineryError, match=r"certificate of 127\.0\.0\.1 is not trusted") as caught:
        request("GET", secure.url + "/x")
    assert "SSL_CERT_FILE" in caught.value.remedy
    assert not isinstance(caught.value, Broken)


def test_another_name_is_refused(
    secure: Web, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    with pytest.raises(MachineryError, match="not trusted"):
        request("GET", f"https://localhost:{secure.port}/x")


def test_missing_bundle_names_the_variable(secure: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    with pytest.raises(UsageError) as caught:
        request("GET", secure.url + "/x")
    assert caught.value.where == "SSL_CERT_FILE=/no/such/file.pem"


def test_a_bundle_that_holds_no_certificate(
    secure: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "junk.pem"))
    with pytest.raises(UsageError, match="cannot be read") as caught:
        request("GET", secure.url + "/x")
    assert caught.value.where == str(tmp_path / "junk.pem")


def test_from_https_to_http_only_with_a_digest(
    secure: Web, web: Web, authority: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[0]))
    secure.answers["/x"] = Answer(302, headers={"Location": web.url + "/y"})
    web.answers["/y"] = Answer(body=b"plain")
    with pytest.raises(MachineryError, match="from https to http"):
        request("GET", secure.url + "/x")
    with (tmp_path / "out").open("w+b") as out:
        download(secure.url + "/x", out, limit=None)
        out.seek(0)
        assert out.read() == b"plain"


def test_plain_http_where_tls_is_expected(web: Web) -> None:
    with pytest.raises(Broken, match="encrypted connection"):
        request("GET", f"https://127.0.0.1:{web.port}/x")
