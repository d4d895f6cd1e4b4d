"""webhook: against a real HTTP(S) server on loopback: signature, acknowledgement, what is refused, what is repeated."""

import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.errors import LineError, SettingsError
from lineside.line.sink.catalog import open_sink
from lineside.line.sink.signature import HEADER, sign, verify
from lineside.line.source.frame import Frame, Source
from lineside.redact import redact
from lineside.store.outbox import Letter
from tests.line.test_mqtt import certificates
from tests.line.tiny import RED, picture, run, stub
from tests.store.rows import a_run, inspection

SECRET = b"0123456789abcdef0123456789abcdef"


class Receiver:
    """Keeps requests; answers is what it says to each, in turn; the last for all that follow."""

    def __init__(self, answers=(204,), tls=None, close=False):
        receiver, self.requests, left = self, [], list(answers)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if answer == "drip":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    for _ in range(100):
                        try:
                            self.wfile.write(b"X-Drip: 1\r\n")
                            self.wfile.flush()
                        except OSError:
                            return
                        time.sleep(0.05)
                    return
                if answer == "hang up":
                    self.close_connection = True
                    return
                self.send_response(answer)
                if 300 <= answer < 400:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.close_connection = close

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", SECRET.decode())


def frames(n) -> Source:
    return Source("mem:", (Frame(f"p{k}", k, "x", picture=picture(RED)) for k in range(1, n + 1)), n)


def url(receiver, options="", scheme="http", host="127.0.0.1"):
    return f"webhook:{scheme}://{host}:{receiver.port}/results?line=3#timeout_s=0.5{options}"


def ids(receiver):
    return [headers["Idempotency-Key"] for _, headers, _ in receiver.requests]


@pytest.mark.parametrize("close", [False, True])
def test_results_are_posted_signed_and_closed_by_2xx(store, close):
    with Receiver(close=close) as receiver:
        summary = run(stub(), frames(5), [open_sink(url(receiver))], store)
    (sent,) = summary.outboxes
    assert (sent.acknowledged, sent.again, sent.pending, sent.trouble) == (5, 0, 0, "")
    for path, headers, body in receiver.requests:
        found = json.loads(body)
        assert path == "/results?line=3"
        assert headers["Idempotency-Key"] == found["ResultMetaData"]["ResultId"]
        assert headers["Content-Type"] == "application/json"
        assert verify(SECRET, headers[HEADER], body, time.time())
        assert not verify(b"another secret  ", headers[HEADER], body, time.time())
        assert not verify(SECRET, headers[HEADER], body + b" ", time.time())
        assert not verify(SECRET, headers[HEADER], body, time.time() + 301)
    assert [json.loads(body)["lineside"]["number"] for _, _, body in receiver.requests] == [1, 2, 3, 4, 5]


def test_what_fails_is_sent_again_in_order_with_the_same_key(store):
    with Receiver([500, "hang up", 429, 403, 200]) as receiver:
        summary = run(stub(), frames(3), [open_sink(url(receiver))], store)
    assert (summary.outboxes[0].pending, summary.outboxes[0].acknowledged) == (0, 3)
    sent = ids(receiver)
    assert len(set(sent)) == 3
    assert len(set(sent[:5])) == 1
    assert len({body for _, _, body in receiver.requests[:5]}) == 1
    assert summary.outboxes[0].again == 3  # and one at once, on a connection that had been closed


@pytest.mark.parametrize(("answer", "says"), [(301, "redirect"), (307, "redirect"), (404, "answers 404"), (503, "503")])
def test_only_2xx_is_an_acknowledgement_and_redirects_are_refused(answer, says):
    with Receiver([answer]) as receiver:
        wire = open_sink(url(receiver)).start("who", threading.Event())
        with pytest.raises(LineError, match=says) as told:
            wire.deliver([Letter(1, inspection(1), a_run(), "00")])
        wire.close()
    assert [path for path, _, _ in receiver.requests] == ["/results?line=3"]
    assert "line=3" not in str(told.value)  # a query may hold a token


def test_a_receiver_that_drips_does_not_hold_the_courier():
    with Receiver(["drip"]) as receiver:
        wire = open_sink(url(receiver)).start("who", threading.Event())
        with pytest.raises(LineError, match=r"no answer .not complete within"):
            wire.deliver([Letter(1, inspection(1), a_run(), "00")])
        wire.close()
    assert len(receiver.requests) == 1


def test_a_receiver_that_is_down_does_not_stop_the_line(store, monkeypatch):
    monkeypatch.setattr("lineside.line.courier.PATIENCE_S", 0.3)
    with Receiver() as receiver:
        pass
    summary = run(stub(), frames(3), [open_sink(url(receiver))], store)
    assert (summary.stored, summary.fault, summary.outboxes[0].pending) == (3, "", 3)
    assert "no answer (Connection refused)" in summary.outboxes[0].trouble


def test_https_and_who_is_trusted(tmp_path, store):
    certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    with Receiver(tls=context) as receiver:
        good = url(receiver, f"&ca={tmp_path}/ca.pem", "https", "localhost")
        assert run(stub(), frames(2), [open_sink(good)], store).outboxes[0].acknowledged == 2
        for wrong in (good.replace("ca.pem", "other.pem"), good.replace("localhost", "127.0.0.1")):
            wire = open_sink(wrong).start("who", threading.Event())
            with pytest.raises(LineError, match=r"no answer .*certificate"):
                wire.deliver([Letter(1, inspection(1), a_run(), "00")])
            wire.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("webhook:http://mes.plant/r", "http is not encrypted; use https, or ask for it with #plain=true"),
        ("webhook:ftp://mes.plant/r", "expected webhook:https://HOST/PATH"),
        ("webhook:", "expected webhook:https://HOST/PATH"),
        ("webhook:https://x:hunter2@mes.plant/r", "the URL holds a user or password"),
        ("webhook:https://mes.plant/r#secret_env=NOT_THERE", "no secret to sign with; name a file with #secret_file="),
        ("webhook:https://mes.plant/r#secret_env=SHORT", "the secret has 5 bytes, at least 16 are needed"),
        ("webhook:https://mes.plant/r#timout-s=3", "timout-s: unknown key; did you mean timeout_s"),
        ("webhook:https://mes.plant:x/r", "the port is no number"),
        ("webhook:https://mes.plant/r#secret=hunter2", "secret: unknown key; did you mean secret_"),
        ("webhook:https://mes.plant:x/r?token=hunter2", "the port is no number"),
        ("webhok:https://x:hunter2@mes.plant/r?token=hunter2", r"did you mean webhook:https://\*\*\*@mes.plant/r"),
        ("webhook:https://mes.plant/ä b", "must be written with %XX"),
        ("webhook:https://mes.plant/r#ca=/no.pem", "the certificates can not be used"),
    ],
)
def test_wrong_urls_are_sentences_without_secrets(monkeypatch, url, says):
    monkeypatch.setenv("SHORT", "short")
    with pytest.raises(SettingsError, match=says) as told:
        open_sink(url)
    assert "hunter2" not in str(told.value)
    assert "short" not in str(told.value)


def test_two_sinks_with_one_outbox_are_refused(store):
    both = [open_sink(f"webhook:https://mes.plant/r?{n}") for n in "ab"]
    with pytest.raises(SettingsError, match=r"the same outbox \(webhook:.*\); leave one out"):
        run(stub(), frames(1), both, store)


def test_the_signature_is_that_of_the_documentation():
    # openssl: printf '1795356000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
    header = sign(b"0123456789abcdef", b"{}", 1795356000)
    assert header == "t=1795356000,v1=d1cae23b1f31c3f29644b64b823cd48af6e7411bbb0c4d6a32c1a9859e4b2221"
    assert verify(b"0123456789abcdef", header, b"{}", 1795356300)
    assert not verify(b"0123456789abcdef", header, b"{}", 1795356301)
    assert not verify(b"0123456789abcdef", header, b"{}", 1795355699)


@given(st.text(), st.binary())
@settings(max_examples=200, deadline=None)
def test_no_header_is_a_crash_or_verified(header, body):
    assert not verify(SECRET, header, body, 0)


def test_a_token_in_the_path_is_in_no_name(monkeypatch):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", SECRET.decode())
    one, two = (open_sink(f"webhook:https://mes.plant/hooks/line-3/{token}/in") for token in ("aB3" * 8, "Zq7" * 8))
    assert one.url == two.url == "webhook:https://mes.plant/hooks/line-3/***/in"
    assert one.key != two.key  # each has its outbox
    assert one.key.startswith("webhook:https://mes.plant:443/hooks/line-3/***/in~")
    assert "aB3" not in one.key
    assert open_sink("webhook:https://mes.plant/results").key == "webhook:https://mes.plant:443/results"
    assert open_sink("webhook:https://[2001:db8::5]:8443/results").key == "webhook:https://[2001:db8::5]:8443/results"


@pytest.mark.parametrize("token", ["aB3" * 8, "eyJhbGciOi.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgN", "geheim" * 6])
@pytest.mark.parametrize("where", ["https://mes/h/{}", "HTTPS://mes/h/{}/in", "https://mes//{}", "https://mes/{}?x=1"])
def test_tokens_of_many_kinds_are_hidden(token, where):
    for scheme in ("webhook", "Webhook"):
        shown = redact(f"{scheme}:{where.format(token)}")
        assert token not in shown
        assert "//mes/" in shown
