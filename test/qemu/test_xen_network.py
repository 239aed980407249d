# SPDX-License-Identifier: MIT
"""Xen's network interfaces: a web server as a domain, which dom0 asks by the bridge, and the host by
dom0's own interface."""

import hashlib
import random
import threading
import urllib.request

import pytest
from xen.lab import GUEST, TIMEOUT, VIF

BYTES = b"0123456789abcdef" * (1 << 20)  # what the program gives for /bytes


def serve(domain, vcpus):
    """A domain with a web server and a network interface."""
    line = f"ip={GUEST}/24 ip6=fd00::2/64 log=info -- serve"
    d = domain("network", "-m", 128, "--smp", vcpus, line=line, more=VIF)
    d.expect("serving")
    return d


def fetch(lab, path, body=None):
    """Asks the domain from the host, by way of dom0's bridge."""
    request = urllib.request.Request(f"http://127.0.0.1:{lab.port}{path}", body)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        return answer.read()


def check_upload(lab, size=4 << 20):
    body = random.Random(2).randbytes(size)
    answer = fetch(lab, "/sum", body).decode()
    assert answer == f"{size} <nil> {hashlib.sha256(body).hexdigest()}"


def check_end(lab, d):
    lab.command(f"printf 'GET /end HTTP/1.0\\r\\n\\r\\n' | nc {GUEST} 8080")
    assert d.end() == "poweroff"


def sent_by(lab, d):
    """Bytes and frames from the domain's first interface, as dom0 counts; cut segments are one."""
    name = f"vif{lab.command(f'xl domid {d.name}').strip()}.0"
    line = lab.command(f"grep {name} /proc/net/dev").split(":")[1].split()
    return int(line[0]), int(line[1])


@pytest.mark.parametrize("cpus", [1, 4])
def test_network(lab, domain, cpus):
    """With dom0 large frames without checksums go both ways, by IPv4 and IPv6; on the way to the
    host and back they are of the usual size, and their checksums are made and looked at."""
    d = serve(domain, cpus)
    assert f"{cpus} queues" in d.text()
    wanted = hashlib.sha256(BYTES).hexdigest()
    body = random.Random(3).randbytes(4 << 20)
    (lab.folder / "body").write_bytes(body)
    for address in (GUEST, "fd00::2"):
        got = lab.command(
            f"printf 'GET /bytes HTTP/1.0\\r\\n\\r\\n' | nc {address} 8080 |"
            f" tail -c {len(BYTES)} | sha256sum"
        )
        assert got.split()[0] == wanted
        sent, sent_frames = sent_by(lab, d)
        assert sent > len(BYTES) and sent > 1514 * sent_frames
        head = f"PUT /sum HTTP/1.0\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n"
        got = lab.command(f"(printf '{head}'; cat /job/body) | nc {address} 8080 | tail -n 1")
        assert got == f"{len(body)} <nil> {hashlib.sha256(body).hexdigest()}"
    assert fetch(lab, "/bytes") == BYTES
    check_upload(lab)
    check_end(lab, d)


def test_datagrams(lab, domain, binary):
    """UDP with a program in dom0: of one frame, of several pages, and in fragments."""
    client = lab.share(binary("network"))
    client.chmod(0o755)
    line = f"ip={GUEST}/24 ip6=fd00::2/64 -- answer"
    d = domain("network", "-m", 128, "--smp", 2, line=line, more=VIF)
    d.expect("echoing")
    assert lab.command(f"/job/{client.name} datagrams {GUEST} fd00::2") == "all answered\n"
    assert d.end() == "poweroff" and d.exit_status == 0


def test_network_with_loss(lab, domain):
    """What is sent again is complete and in its place, up to the end."""
    d = serve(domain, 2)
    complete = []

    def download():
        complete.append(fetch(lab, "/bytes") == BYTES)

    threads = [threading.Thread(target=download) for _ in range(4)]
    for thread in threads:
        thread.start()
    vif = f"vif{lab.command(f'xl domid {d.name}').strip()}.0"
    for _ in range(5):
        lab.command(
            f"brctl delif xenbr0 {vif}; usleep 50000; brctl addif xenbr0 {vif}; usleep 500000"
        )
    for thread in threads:
        thread.join()
    assert complete == [True] * len(threads)
    check_end(lab, d)


def test_network_back_ends_come_and_go(lab, domain):
    """dom0's driver is taken from the device and comes back, with the same rings; the device closes
    and opens again, with new ones; the toolstack detaches it, and attaches another in its place."""
    d = serve(domain, 2)
    number = lab.command(f"xl domid {d.name}").strip()
    backend, vif = f"/local/domain/0/backend/vif/{number}/0", f"vif{number}.0"
    lab.command(
        f"cd /sys/bus/xen-backend/drivers/vif; echo vif-{number}-0 > unbind;"
        f" echo vif-{number}-0 > bind; ip link set {vif} up; brctl addif xenbr0 {vif};"
        f" xenstore-write {backend}/hotplug-status connected"
    )
    check_upload(lab, 1 << 20)
    assert "link is down" not in d.text()
    lab.command(f"xenstore-write {backend}/state 5")
    d.expect("the back end has left(?s:.*)link is down(?s:.*)link is up")
    check_upload(lab, 1 << 20)
    lab.command(
        f"xl network-detach {d.name} 0;"
        f" xl network-attach {d.name} mac=00:16:3e:00:00:07 bridge=xenbr0"
    )
    d.expect("(link is down(?s:.*)link is up(?s:.*)){2}")
    check_upload(lab, 1 << 20)
    check_end(lab, d)
