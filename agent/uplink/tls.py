"""The [mqtt] settings come in; a TLS context that verifies the broker goes out. Imported only for mqtts and wss."""

import ssl
from typing import Any

from agent.config.model import Mqtt
from agent.tls import prepare


def tls_context(settings: Mqtt) -> ssl.SSLContext:
    """TLS 1.2 or newer, certificate and name always verified; OSError (ssl.SSLError is one) when a file is no good."""
    context = _NamedContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and host name
    context.server_name = settings.server_name
    prepare(context, settings)
    if settings.alpn is not None:
        context.set_alpn_protocols([settings.alpn])
    return context


class _NamedContext(ssl.SSLContext):
    """Asks for, and verifies, `server_name` where it differs from the host; closes the socket when that fails."""

    server_name: str | None = None

    def wrap_socket(self, sock: Any, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        if self.server_name is not None:
            kwargs["server_hostname"] = self.server_name
        wrapped = super().wrap_socket(sock, *args, **kwargs)
        try:
            wrapped.do_handshake()  # here, because paho leaves the socket open when it fails
        except BaseException:
            wrapped.close()
            raise
        return wrapped
