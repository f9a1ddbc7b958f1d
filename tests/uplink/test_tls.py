"""TLS: a certificate that does not convince never gets a connection, and the reason is told in words."""

import ssl
import subprocess

import pytest


@pytest.fixture(scope="session")
def authority(new_authority):
    return new_authority()


@pytest.fixture(scope="session")
def other_authority(new_authority):
    return new_authority("another CA")


def assert_never_connects(driver, outbox, words):
    outbox.put(1)
    driver.until(lambda: driver.stats.last_error)
    assert words in driver.stats.last_error
    assert not driver.stats.connected
    assert outbox.acknowledged == []
    assert driver.stats.messages_sent == 0


def test_a_broker_with_a_certificate_of_the_given_ca_is_trusted(authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto", certificates=authority.server())
    driver = drive(broker.url, ca=str(authority.ca))
    outbox.put(100, size=20_000)
    driver.until_acknowledged()
    assert broker.url.startswith("mqtts://")


def test_large_messages_in_both_directions_of_one_tls_record_are_acknowledged(authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto", certificates=authority.server())
    driver = drive(broker.url, ca=str(authority.ca))
    outbox.put(2000, size=10)
    driver.until_acknowledged()


def test_websockets_over_tls_carry_it_too(authority, new_broker, drive, outbox):
    broker = new_broker("amqtt", websockets=True, certificates=authority.server())
    driver = drive(broker.url, ca=str(authority.ca))
    outbox.put(20, size=20_000)
    driver.until_acknowledged()
    assert broker.url.startswith("wss://")


@pytest.mark.parametrize(
    ("server", "settings", "words"),
    [
        ({}, {"ca": "other"}, "unknown CA: set mqtt.ca"),
        ({}, {}, "unknown CA: set mqtt.ca"),
        ({"days": -1}, {"ca": "own"}, "has expired"),
        ({"hosts": ("broker.example.com",)}, {"ca": "own"}, "for another name than 127.0.0.1"),
        ({"hosts": ("127.0.0.1",)}, {"ca": "own", "server_name": "broker.example.com"}, "than broker.example.com"),
    ],
    ids=["other CA", "system CAs", "expired", "wrong name", "wrong server_name"],
)
def test_a_certificate_that_does_not_convince(
    authority, other_authority, new_broker, drive, outbox, server, settings, words
):
    cas = {"own": str(authority.ca), "other": str(other_authority.ca)}
    settings = {name: cas.get(value, value) for name, value in settings.items()}
    broker = new_broker("mosquitto", certificates=authority.server("server", **server))
    assert_never_connects(drive(broker.url, **settings), outbox, words)


def test_the_given_server_name_is_verified_instead_of_the_host(authority, new_broker, drive, outbox):
    certificates = authority.server("named", hosts=("broker.example.com",))
    broker = new_broker("mosquitto", certificates=certificates)
    driver = drive(broker.url, ca=str(authority.ca), server_name="broker.example.com")
    outbox.put(1)
    driver.until_acknowledged()


def test_a_required_client_certificate_lets_in(authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto", certificates=authority.server(require_client=True))
    cert, key = authority.issue("gw1")
    driver = drive(broker.url, ca=str(authority.ca), cert=str(cert), key=str(key))
    outbox.put(1)
    driver.until_acknowledged()


def test_a_missing_client_certificate_is_asked_for(authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto", certificates=authority.server(require_client=True))
    assert_never_connects(drive(broker.url, ca=str(authority.ca)), outbox, "client certificate")


def test_a_client_certificate_of_another_ca_is_refused(authority, other_authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto", certificates=authority.server(require_client=True))
    cert, key = other_authority.issue("gw1")
    driver = drive(broker.url, ca=str(authority.ca), cert=str(cert), key=str(key))
    assert_never_connects(driver, outbox, "client certificate")


def test_tls_towards_a_plain_port_is_named(authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto")
    driver = drive(broker.url.replace("mqtt://", "mqtts://"), ca=str(authority.ca))
    outbox.put(1)
    driver.until(lambda: driver.stats.last_error)
    assert "TLS" in driver.stats.last_error or "cut by the other side" in driver.stats.last_error
    assert not driver.stats.connected


def test_plain_mqtt_towards_a_tls_port_does_not_connect(authority, new_broker, drive, outbox):
    broker = new_broker("mosquitto", certificates=authority.server())
    driver = drive(broker.url.replace("mqtts://", "mqtt://"))
    assert_never_connects(driver, outbox, "is the scheme of mqtt.url right?")


@pytest.mark.parametrize("setting", ["ca", "cert"])
def test_a_file_that_is_not_there_is_named_and_looked_for_again(
    authority, new_broker, drive, outbox, tmp_path, setting
):
    broker = new_broker("mosquitto", certificates=authority.server(require_client=True))
    cert, key = authority.issue("gw1")
    files = {"ca": authority.ca, "cert": cert, "key": key}
    late = tmp_path / "late.pem"
    driver = drive(broker.url, **{name: str(path) for name, path in (files | {setting: late}).items()})
    assert_never_connects(driver, outbox, "cannot read the file of mqtt.ca, mqtt.cert or mqtt.key")
    late.write_bytes(files[setting].read_bytes())
    driver.until_acknowledged()


def test_an_encrypted_key_is_refused_instead_of_asking_on_the_terminal(authority, new_broker, drive, outbox, tmp_path):
    cert, key = authority.issue("gw1")
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", str(key), "-out", str(locked), "-passout", "pass:secret"], check=True
    )
    broker = new_broker("mosquitto", certificates=authority.server(require_client=True))
    driver = drive(broker.url, ca=str(authority.ca), cert=str(cert), key=str(locked))
    assert_never_connects(driver, outbox, "without a passphrase")


def test_a_key_of_another_certificate_is_named(authority, drive, outbox):
    cert, _ = authority.issue("gw1")
    _, key = authority.issue("gw2")
    driver = drive("mqtts://127.0.0.1:9", ca=str(authority.ca), cert=str(cert), key=str(key))
    assert_never_connects(driver, outbox, "mqtt.key is not the key of mqtt.cert")


def test_alpn_is_offered_and_tls_1_2_is_the_least(authority):
    from agent.config.model import Mqtt  # noqa: PLC0415
    from agent.uplink.tls import tls_context  # noqa: PLC0415

    context = tls_context(Mqtt(url="mqtts://x", ca=str(authority.ca), alpn="x-amzn-mqtt-ca"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue("alpn", hosts=("x",)))
    server.set_alpn_protocols(["http/1.1", "x-amzn-mqtt-ca"])
    assert handshake(context, server).selected_alpn_protocol() == "x-amzn-mqtt-ca"
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def handshake(client_context, server_context):
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname="x")
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client
