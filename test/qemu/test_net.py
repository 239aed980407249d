# SPDX-License-Identifier: MIT
"""Sockets and the network: local sockets, servers and clients, what goes wrong on the way."""

import concurrent.futures
import glob
import http.client
import http.server
import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
import urllib.request

import pytest

import guest


@pytest.mark.parametrize("cpus", ("1", "4"))
def test_unix_sockets(run, cpus):
    done = run("unixsockets", options=("--smp", cpus))
    names = "transfer http rpc datagrams rights failures edges"
    assert (done.status, done.stdout.split()) == (0, names.split()), done.stderr


def dry_run(app, *options):
    return guest.tool_result("run", "--accel", "tcg", "--dry-run", *options, app)


def test_network_options(image):
    """What QEMU is told, and what is refused before it starts."""
    app = image("unixsockets")
    text = dry_run(app, "-p", "1:80", "-p", "0.0.0.0:53:54/udp", "--ip", "10.0.2.20/24").stdout
    assert (
        "user,id=net0,hostfwd=tcp:127.0.0.1:1-10.0.2.20:80,hostfwd=udp:0.0.0.0:53-10.0.2.20:54 "
        "-device virtio-net-device,netdev=net0" in text
    )
    assert "ip=10.0.2.20/24" in text
    for kind in ("pc", "q35"):
        assert "virtio-net-pci,netdev=net0" in dry_run(app, "--machine", kind).stdout
    assert "ip6=fd00::2/64,fe80::1" in dry_run(app, "--ip", "fd00::2/64,fe80::1").stdout
    assert "netdev" not in dry_run(app, "--net", "none").stdout
    assert "netdev" not in dry_run(image("hello")).stdout
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        refused = (
            ((app, "-p", f"{port}:80"), f"port {port} of 127.0.0.1 cannot be had: Address already"),
            ((app, "-p", "80"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "-p", "0:80"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "-p", "80:80/sctp"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "-p", "host:80:80"), "give [ADDRESS:]HOST:GUEST"),
            ((app, "--net", "bridge"), "give user, none or tap="),
            ((app, "--net", "tap=nosuchtap"), "ip tuntap add nosuchtap mode tap"),
            ((app, "--net", "none", "-p", "1:80"), "only --net user forwards ports"),
            ((app, "--ip", "10.0.0.1"), "ADDRESS/LENGTH"),
            ((image("hello"), "-p", "1:80"), "no network: build it with --network always"),
        )
        for words, message in refused:
            done = dry_run(*words)
            assert done.status == 2 and message in done.stderr, (words, done.stderr)


class Web:
    """The example server behind a forwarded port."""

    def __init__(self, image, *options):
        self.port = free_port()
        self.process = guest.start(
            guest.UNIGORNEL, "run", "-p", f"{self.port}:8080", *options, image("webserver")
        )

    def get(self, path="/", data=None):
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, data, timeout=guest.TIMEOUT) as answer:
            return answer.read()

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=guest.TIMEOUT)
        connection.connect()
        return connection

    def wait(self):
        """Until it answers: user-mode networking takes connections before the guest is up."""
        while True:
            try:
                return self.get()
            except OSError:
                assert self.process.poll() is None, "the guest has ended"
                time.sleep(0.2)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.kvm_only("QEMU's forwarded ports; for Xen see test_xen.py")
@pytest.mark.parametrize("machine", ("microvm", "q35"))
def test_web_server(image, machine):
    web = Web(image, "--machine", machine, "--smp", "2")
    assert b"Hello from Go" in web.wait()
    body = bytes(range(256)) * 4096
    assert web.get("/echo", body) == body
    # QEMU listens with a queue of one, and resets what comes faster: connect one after the other.
    connections = [web.connect() for _ in range(16)]
    with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
        assert all(pool.map(lambda c: [echo(c, i) for i in range(20)] == list(range(20)), connections))


def echo(connection, number):
    connection.request("POST", "/echo", b"%d" % number)
    return int(connection.getresponse().read())


def test_web_server_static_address(image):
    web = Web(image, "--ip", "10.0.2.77/24,10.0.2.2")
    assert b"Hello from Go" in web.wait()


@pytest.mark.parametrize(
    "example, says",
    (
        ("https", "32 answers by HTTP/1.1\n32 answers by HTTP/2.0\n"),
        ("websocket", "50 messages\n"),
        ("grpc", "50 calls, 20 changes\n"),
        ("dns", "20 lookups\n"),
    ),
)
def test_service(run, example, says):
    """A server and its client in one machine, by the packages that most programs use."""
    done = run(example, options=("-m", "256M", "--smp", "2"))
    assert done.status == 0 and done.stdout.endswith(says), (done.stdout, done.stderr)


def wait_for(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)


@pytest.fixture
def postgres():
    """A PostgreSQL of Debian's on a port of loopback; it does not run as root."""
    tools = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    user = ("runuser", "-u", "postgres", "--") if os.getuid() == 0 else ()
    folder = tempfile.mkdtemp()
    port = free_port()
    if user:
        shutil.chown(folder, "postgres")
    guest.succeed(
        guest.result(
            *user, f"{tools}/initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "--no-sync"
        )
    )
    guest.start(
        *user, f"{tools}/postgres", "-D", f"{folder}/data", "-p", port, "-h", "127.0.0.1", "-k", folder
    )
    wait_for(port)
    yield port
    guest.end_all()
    shutil.rmtree(folder)


@pytest.mark.kvm_only("QEMU's user-mode network reaches the host's servers; dom0's bridge does not")
def test_databases(run, postgres):
    """Clients of a real Redis and a real PostgreSQL on the host, through user-mode networking."""
    redis = free_port()
    guest.start("redis-server", "--port", redis, "--bind", "127.0.0.1", "--save", "")
    wait_for(redis)
    url = f"postgres://postgres@10.0.2.2:{postgres}/postgres?sslmode=disable"
    done = run("redis", f"10.0.2.2:{redis}")
    assert (done.status, done.stdout) == (0, "counter 210\n"), done.stderr
    done = run("postgres", url)
    assert (done.status, done.stdout) == (0, "sum 40425\n"), done.stderr


@pytest.fixture
def authority(tmp_path):
    """A CA of the test's own, and an HTTPS server on the host that has its certificate: the CA's
    file and the server's port."""
    for words in (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=host -keyout host.key -out host.csr",
        "x509 -req -in host.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out host.pem",
    ):
        (tmp_path / "names").write_text("subjectAltName = IP:10.0.2.2")
        guest.succeed(guest.result("openssl", *words.split(), folder=tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "host.pem", tmp_path / "host.key")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"trusted")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield tmp_path / "ca.pem", server.server_port
        server.shutdown()
        thread.join()


def test_ca_certificates(authority, tmp_path):
    """The build machine's CA certificates go into the image of a program that looks for some, unless
    the folder that is given has its own."""
    bundle, port = authority
    own = tmp_path / "own"
    (own / "etc/ssl/certs").mkdir(parents=True)
    (own / "etc/ssl/certs/ca-certificates.crt").write_bytes(bundle.read_bytes())
    (tmp_path / "other").mkdir()
    (tmp_path / "other/data").write_text("x")
    url = f"https://10.0.2.2:{port}/"
    nothing, something = {"SSL_CERT_FILE": "/nonexistent"}, {"SSL_CERT_FILE": str(bundle)}
    for options, env, trusts in (
        ((), something, True),
        ((), nothing, False),
        (("--fs", tmp_path / "other"), something, True),
        (("--fs", own), nothing, True),
    ):
        app = tmp_path / "app.elf"
        guest.tool("build", "-o", app, *options, ".", folder=guest.ROOT / "examples/https", env=env)
        done = guest.tool_result("run", app, "--", url)
        if trusts:
            assert (done.status, done.stdout) == (0, "trusted\n"), done.stderr
        else:
            assert done.status == 1 and "certificate signed by unknown authority" in done.stderr
