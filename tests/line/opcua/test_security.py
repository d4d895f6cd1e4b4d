"""opcua: who may enter. Each refusal is asked of a running server by a real client, and by one that does not behave."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.line.sink import opcua_trust as trust
from lineside.line.sink.catalog import open_sink
from tests.line.opcua.shop import CLIENT_URI, PASSWORD, USER, Shop, client_certificate, free_port

NOW = datetime(2026, 11, 22, tzinfo=UTC)
REFUSED = (ua.UaError, ConnectionError, asyncio.TimeoutError)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("security"))
    yield shop
    shop.sink.close()


def test_a_trusted_client_with_user_and_password_comes_in(shop):
    shop.knock()


@pytest.mark.parametrize(
    "given",
    [
        {"password": "wrong horse"},
        {"password": ""},
        {"user": "carl"},
        {"user": "admin"},
        {"user": None},
        {"secure": False},
        {"secure": False, "user": None},
    ],
    ids=str,
)
def test_nobody_else_does(shop, given):
    with pytest.raises(REFUSED):
        shop.knock(**given)
    shop.knock()  # and the server is still there


def test_a_client_that_tries_passwords_is_refused_for_a_while(tmp_path, caplog):
    shop, other = Shop(tmp_path), tmp_path / "other"
    try:
        for n in range(trust.TRIES):
            with pytest.raises(REFUSED):
                shop.knock(password=f"wrong horse {n}")
        with pytest.raises(REFUSED):
            shop.knock()  # the right one is not looked at
        certificate, _ = client_certificate(other)
        (shop.pki / "trusted" / "other.der").write_bytes(certificate.read_bytes())
        shop.knock(who=other)  # another client comes in
    finally:
        shop.sink.close()
    said = [one for one in caplog.messages if "5 wrong passwords in a row from urn:test:client" in one]
    assert len(said) == 1
    assert "wrong horse" not in caplog.text


def test_the_rest_ends_and_a_right_password_begins_anew():
    clock = [0.0]
    tries = trust.Tries(lambda: clock[0])
    assert [tries.tried(b"a", False) for _ in range(trust.TRIES)] == [False] * (trust.TRIES - 1) + [True]
    assert (tries.rests(b"a"), tries.rests(b"b")) == (True, False)
    clock[0] = trust.REST_S + 1
    assert not tries.rests(b"a")
    assert tries.tried(b"a", False)  # one more is enough
    clock[0] *= 3
    assert not tries.tried(b"a", True)
    assert not any(tries.tried(b"a", False) for _ in range(trust.TRIES - 1))


def test_a_client_of_an_unknown_certificate_is_kept_to_be_trusted(shop, tmp_path, caplog):
    with pytest.raises(REFUSED):
        shop.knock(who=tmp_path)
    certificate, _ = client_certificate(tmp_path)
    (rejected,) = (shop.pki / "rejected").glob("*.der")
    assert rejected.read_bytes() == certificate.read_bytes()
    assert f"to trust it: mv {rejected} {shop.pki}/trusted/" in caplog.text
    assert PASSWORD not in caplog.text
    rejected.rename(shop.pki / "trusted" / rejected.name)
    shop.knock(who=tmp_path)  # without a restart
    (shop.pki / "trusted" / rejected.name).unlink()
    with pytest.raises(REFUSED):
        shop.knock(who=tmp_path)


def test_a_certificate_that_is_only_shown_is_not_enough(shop, tmp_path):
    """The channel is opened with an untrusted key; CreateSession then claims the trusted certificate, or none."""

    async def go(claimed: bytes | None):
        certificate, key = client_certificate(tmp_path)
        client = Client(shop.endpoint, timeout=20)
        client.application_uri = CLIENT_URI
        client.set_user(USER)
        client.set_password(PASSWORD)
        await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))
        await client.connect_socket()
        try:
            await client.send_hello()
            await client.open_secure_channel()
            create = client.uaclient.create_session

            async def lie(parameters):
                parameters.ClientCertificate = claimed
                return await create(parameters)

            client.uaclient.create_session = lie
            await client.create_session()
            await client.activate_session(username=USER, password=PASSWORD)
        finally:
            client.disconnect_socket()

    for claimed in (shop.certificate.read_bytes(), None):
        with pytest.raises(REFUSED):
            asyncio.run(go(claimed))


def test_a_session_is_not_taken_over_by_its_number(shop, tmp_path):
    """asyncua 2.1 counts session tokens from 1000, and a channel that guessed one kept the session after its signature
    was found wrong. Here nobody takes a session over at all."""

    async def go():
        victim = await shop.client()
        async with victim:
            token = victim.uaclient.protocol.authentication_token
            certificate, key = client_certificate(tmp_path)
            thief = Client(shop.endpoint, timeout=20)
            await thief.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))
            await thief.connect_socket()
            try:
                await thief.send_hello()
                await thief.open_secure_channel()
                thief.uaclient.protocol.authentication_token = token
                request = ua.ActivateSessionParameters()
                request.ClientSignature.Signature = b"guess"
                request.UserIdentityToken = ua.AnonymousIdentityToken()
                with pytest.raises(REFUSED):
                    await thief.uaclient.activate_session(request)
                with pytest.raises(REFUSED):
                    await thief.nodes.server.read_browse_name()
            finally:
                thief.disconnect_socket()
            await victim.nodes.server.read_browse_name()

    asyncio.run(go())


def test_nobody_registers_servers(shop):
    async def go():
        client = Client(shop.endpoint, timeout=20)
        await client.connect_sessionless()
        try:
            before = await client.find_servers()
            server = ua.RegisteredServer(ServerUri="urn:evil", ServerNames=[ua.LocalizedText("evil")])
            with pytest.raises(REFUSED):
                await client.uaclient.register_server(server)
            assert len(await client.find_servers()) == len(before)
        finally:
            await client.disconnect_sessionless()

    asyncio.run(go())


def test_without_asyncua_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncua", None)
    with pytest.raises(MissingExtra, match=r"pip install 'lineside\[opcua\]'"):
        open_sink(f"opcua://127.0.0.1?pki={tmp_path}")


def test_only_the_encrypted_endpoint_is_offered(shop):
    async def go():
        return await Client(shop.endpoint, timeout=20).connect_and_get_server_endpoints()

    (endpoint,) = asyncio.run(go())
    assert endpoint.SecurityMode == ua.MessageSecurityMode.SignAndEncrypt
    assert endpoint.SecurityPolicyUri.endswith("#Basic256Sha256")
    assert [one.TokenType for one in endpoint.UserIdentityTokens] == [ua.UserTokenType.UserName]


def test_anonymous_only_when_asked_and_still_by_certificate(tmp_path):
    shop = Shop(tmp_path, settings="&anonymous=true")
    try:
        shop.knock(user=None)
        shop.knock()
        for given in ({"user": None, "secure": False}, {"user": None, "who": tmp_path / "other"}, {"password": "x"}):
            with pytest.raises(REFUSED):
                shop.knock(**given)
    finally:
        shop.sink.close()


def test_without_security_only_when_asked(tmp_path):
    shop = Shop(tmp_path, settings="&anonymous=true&none=true")
    try:
        shop.knock(user=None, secure=False)
        shop.knock(user=None)
        with pytest.raises(REFUSED):
            shop.knock(user=None, who=tmp_path / "other")
    finally:
        shop.sink.close()


def test_the_server_makes_its_key_once_for_itself_only(tmp_path):
    first = trust.private_folder(tmp_path / "pki", "urn:x", "h", NOW)
    data = [one.read_bytes() for one in first]
    assert oct(first[1].stat().st_mode & 0o777) == "0o600"
    assert oct((tmp_path / "pki").stat().st_mode & 0o777) == "0o700"
    assert [one.read_bytes() for one in trust.private_folder(tmp_path / "pki", "urn:x", "h", NOW)] == data
    first[1].chmod(0o640)
    with pytest.raises(SettingsError, match=r"holds the server's key and others can read it \(mode 640\)"):
        trust.private_folder(tmp_path / "pki", "urn:x", "h", NOW)


def test_certificates_have_their_time(tmp_path):
    certificate, _ = trust.private_folder(tmp_path / "pki", "urn:x", "h", NOW)
    der = certificate.read_bytes()
    (tmp_path / "pki" / "trusted" / "a.der").write_bytes(der)
    assert trust.trusts(tmp_path / "pki", der, NOW) == ""
    for when in (NOW - timedelta(days=1), NOW + timedelta(days=4000)):
        assert "its certificate is valid from" in trust.trusts(tmp_path / "pki", der, when)
    assert trust.trusts(tmp_path / "pki", b"garbage", NOW) == "its certificate can not be read"
    assert trust.trusts(tmp_path / "pki", der + b"\0", NOW) != ""


def test_rejected_certificates_do_not_fill_the_disk(tmp_path):
    trust.private_folder(tmp_path, "urn:x", "h", NOW)
    for n in range(trust.REJECTED + 5):
        (tmp_path / "rejected" / f"{n}.der").write_bytes(b"x")
    trust._keep_rejected(tmp_path / "rejected", "new.der", b"y")
    assert len(list((tmp_path / "rejected").iterdir())) == trust.REJECTED
    assert (tmp_path / "rejected" / "new.der").exists()


def test_users_are_made_by_a_command_and_kept_as_hashes(tmp_path):
    path = tmp_path / "users"
    command = [sys.executable, "-m", "lineside.line.sink.opcua_trust", str(path)]
    for name, password in (("anna", "correct horse"), ("bert", "battery staple"), ("anna", "another horse")):
        done = subprocess.run([*command, name], input=password + "\n", capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    users = trust.read_users(path)
    assert set(users) == {"anna", "bert"}
    assert trust.is_user(users, "anna", "another horse")
    assert not trust.is_user(users, "anna", "correct horse")
    assert not trust.is_user(users, "nobody", "another horse")
    assert not trust.is_user(users, "nobody", "")
    assert "horse" not in path.read_text()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    for name, password in (("a:b", "long enough"), ("carl", "short")):
        done = subprocess.run([*command, name], input=password + "\n", capture_output=True, text=True, timeout=60)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("anna:scrypt:00:00\n", 0o644, r"others can read it \(mode 644\)"),
        ("anna:plain\n", 0o600, "line 1: expected NAME:scrypt:SALT:HASH"),
        ("# nobody\n", 0o600, "no users in it, so nobody could log in"),
        ("anna:md5:00:00\n", 0o600, "line 1: unknown kind of password; expected scrypt"),
        (None, 0, "is not there, so nobody could log in; expected a file of users, such as made by: python -m"),
    ],
)
def test_a_users_file_that_will_not_do(tmp_path, text, mode, says):
    if text is not None:
        (tmp_path / "users").write_text(text)
        os.chmod(tmp_path / "users", mode)
    with pytest.raises((LineError, SettingsError), match=says):
        open_sink(f"opcua://127.0.0.1:{free_port()}?pki={tmp_path}")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("opcua:", "expected HOST or HOST:PORT after //"),
        ("opcua://127.0.0.1", r"expected pki=FOLDER, where certificates and users are kept"),
        ("opcua://127.0.0.1?pki=x&none=true", "it goes with anonymous=true only"),
        ("opcua://127.0.0.1?pki=x&anonymous=yes", "anonymous: expected true or false, got 'yes'"),
        ("opcua://127.0.0.1?pki=x&keep=0", "keep: expected 1 to 10000, got 0"),
    ],
)
def test_wrong_urls_are_sentences(url, says):
    with pytest.raises(SettingsError, match=says):
        open_sink(url)
