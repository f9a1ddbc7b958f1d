"""An authority of one's own in, certificates and keys of servers and clients, good and bad, in files out."""

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.simulate.broker import Certificates


class Authority:
    """A CA of our own, and certificates by it, as PEM files."""

    def __init__(self, folder: Path, name="fieldtap test CA"):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key, days=10).add_extension(constraints, critical=True)
        self.ca = self._write("ca.pem", builder.sign(self._key, hashes.SHA256()))

    def issue(self, name, *, days=10, hosts=("127.0.0.1",)):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(subject, key, days).add_extension(
            x509.SubjectAlternativeName([self._host(host) for host in hosts]), critical=False
        )
        cert = self._write(f"{name}.pem", builder.sign(self._key, hashes.SHA256()))
        key_path = self._folder / f"{name}.key"
        plain = serialization.NoEncryption()
        key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
        return cert, key_path

    def server(self, name="broker", *, require_client=False, **kwargs):
        return Certificates(self.ca, *self.issue(name, **kwargs), require_client)

    def _builder(self, subject, key, days):
        now = datetime.datetime.now(datetime.UTC)
        begin = now - datetime.timedelta(days=20)
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        return builder.not_valid_before(begin).not_valid_after(now + datetime.timedelta(days=days))

    @staticmethod
    def _host(host):
        try:
            return x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            return x509.DNSName(host)

    def _write(self, name, cert):
        path = self._folder / name
        path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        return path
