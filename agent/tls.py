"""Names of certificate files in, a TLS context that verifies the other side out; and TLS's errors in, words out."""

import ssl
from typing import NamedTuple, Protocol


class Files(Protocol):
    """Settings that name them, in PEM form."""

    @property
    def ca(self) -> str | None:
        """Whom to trust; None: whom the system trusts."""

    @property
    def cert(self) -> str | None:
        """Our own certificate."""

    @property
    def key(self) -> str | None:
        """Its private key, without a passphrase."""


class Peer(NamedTuple):
    """The other side, and how our settings for it are called in sentences."""

    who: str  # the broker
    name: str  # what its certificate must say
    keys: str = ""  # what stands before ca, cert, key, server_name
    address: str = "port"  # the key of its address
    plain: str = "tcp"  # the scheme without TLS


def prepare(context: ssl.SSLContext, files: Files) -> ssl.SSLContext:
    """TLS 1.2 or newer with these files; OSError (ssl.SSLError is one) when a file is no good."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(files.ca)
    if files.cert is not None:
        # Without a password function OpenSSL would ask on the terminal for an encrypted key, and wait for ever.
        context.load_cert_chain(files.cert, files.key, password=lambda: "")
    return context


# X509_V_ERR_* of OpenSSL.
_UNKNOWN_CA = "{who}'s certificate comes from an unknown CA: set {keys}ca to that CA's certificate"
_VERIFY = {
    7: _UNKNOWN_CA,  # of the same name as ours
    9: "{who}'s certificate is not valid yet: check this machine's clock",
    10: "{who}'s certificate has expired: renew it, or check this machine's clock",
    18: "{who}'s certificate is self-signed and not trusted: set {keys}ca to it",
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    23: "{who}'s certificate has been revoked",
}
_NAME_MISMATCH = frozenset({62, 64})

# Parts of OpenSSL's reason strings, most telling first.
_REASONS = (
    ("WRONG_VERSION_NUMBER", "this port does not speak TLS: use {plain}:// or another port"),
    ("RECORD_LAYER_FAILURE", "this port does not speak TLS: use {plain}:// or another port"),
    ("CERTIFICATE_REQUIRED", "{who} wants a client certificate: set {keys}cert and {keys}key"),
    ("HANDSHAKE_FAILURE", "{who} refuses the TLS handshake: does it want a client certificate ({keys}cert)?"),
    ("ALERT_UNKNOWN_CA", "{who} does not trust our client certificate: check {keys}cert"),
    ("CERTIFICATE_EXPIRED", "our client certificate has expired: renew {keys}cert"),
    ("BAD_CERTIFICATE", "{who} does not accept our client certificate: check {keys}cert"),
    ("PROTOCOL_VERSION", "no TLS version in common: {who} must offer TLS 1.2 or newer"),
    ("UNSUPPORTED_PROTOCOL", "no TLS version in common: {who} must offer TLS 1.2 or newer"),
    ("KEY_VALUES_MISMATCH", "{keys}key is not the key of {keys}cert"),
    ("PEM_LIB", "{keys}cert or {keys}key cannot be used: both must be PEM, and the key without a passphrase"),
    ("NO_CERTIFICATE_OR_CRL_FOUND", "{keys}ca holds no certificate in PEM form"),
)


def explain(error: ssl.SSLError, peer: Peer) -> str:
    """What is wrong, and whose turn it is."""
    return _words(error).format(text=error, **peer._asdict())


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _NAME_MISMATCH:
            return "{who}'s certificate is for another name than {name}: check {address} or set {keys}server_name"
        unknown = f"{{who}}'s certificate cannot be verified (OpenSSL code {error.verify_code})"
        return _VERIFY.get(error.verify_code, unknown)
    reason = str(error).upper().replace(" ", "_")
    return next((words for part, words in _REASONS if part in reason), "TLS fails: {text}")
