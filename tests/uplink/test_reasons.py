"""Errors as sentences: who, what and what to do."""

import socket
import ssl

import pytest

from agent.uplink.reasons import Endpoint, explain_code, explain_early_end, explain_error

BROKER = Endpoint("broker.example.com", 8883, tls=True)


def unverified(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there"),
        (TimeoutError("timed out"), "firewalls"),
        (ConnectionResetError(104, "reset"), "cut by the other side"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "name is not known"),
        (socket.gaierror(socket.EAI_AGAIN, "again"), "no name server answers"),
        ("a..b".encode, "name is not known"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (FileNotFoundError(2, "No such file"), "mqtt.ca"),
        (PermissionError(13, "Permission denied"), "mqtt.key"),
        (RuntimeError("something else"), "RuntimeError: something else"),
        (unverified(9), "not valid yet: check this machine's clock"),
        (unverified(10), "expired"),
        (unverified(18), "self-signed"),
        (unverified(19), "unknown CA"),
        (unverified(20), "unknown CA"),
        (unverified(62), "another name than broker.example.com"),
        (unverified(64), "another name than broker.example.com"),
        (unverified(77), "OpenSSL code 77"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "does not speak TLS"),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert"), "set mqtt.cert and mqtt.key"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] alert unknown ca"), "does not trust our client certificate"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] x"), "TLS 1.2 or newer"),
        (ssl.SSLError(1, "[SSL: SOMETHING_NEW] x"), "TLS fails: [SSL: SOMETHING_NEW] x"),
    ],
)
def test_an_error_is_explained_with_the_endpoint_first(error, words):
    if callable(error):
        with pytest.raises(UnicodeError) as caught:
            error("idna")
        error = caught.value
    sentence = explain_error(BROKER, error)
    assert sentence.startswith("broker.example.com:8883: ")
    assert words in sentence
    assert "\n" not in sentence


def test_the_server_name_is_named_where_it_was_the_one_verified():
    assert "than mqtt.internal" in explain_error(BROKER._replace(server_name="mqtt.internal"), unverified(62))


@pytest.mark.parametrize(("code", "words"), [(0x86, "mqtt.password"), (0x8E, "own gateway.id"), (0xC3, "0xc3")])
def test_a_reason_code_is_explained(code, words):
    assert words in explain_code(BROKER, code)


def test_an_early_end_is_guessed_at_by_what_was_tried():
    assert "client certificate" in explain_early_end(BROKER)
    assert "scheme" in explain_early_end(BROKER._replace(tls=False))
