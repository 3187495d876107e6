"""Which names the hub answers to: a page whose own name was made to lead to this machine is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from listening import serving
from test_origins import WAYS
from wire import request, say, upgrade

from hub.app import new_hosts
from hub.errors import SettingsError
from hub.hosts import NOT_LOCAL, NOT_NAMED, NOT_SITE, Hosts, names_of, parse_host, siblings_of
from hub.realms import Entry
from hub.settings import Settings

KEY = b"k" * 32

LOCAL = ["localhost", "localhost:8000", "LOCALHOST.", "a.localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"]
ADDRESSES = ["192.168.1.4", "192.168.1.4:8000", "[fe80::1]", "10.0.0.1"]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "127.1",
]


class TestHosts:
    @pytest.mark.parametrize("host", [*LOCAL, *ADDRESSES, None])
    def test_addresses_and_localhost_can_t_be_rebound(self, host: str | None) -> None:
        assert Hosts(None).refuse(host, "/bayeux") is None

    @pytest.mark.parametrize("host", FOREIGN)
    def test_any_other_name_is_refused_where_nothing_is_set_up(self, host: str) -> None:
        assert Hosts(None).refuse(host, "/bayeux") == NOT_LOCAL

    @pytest.mark.parametrize("host", [*LOCAL, *ADDRESSES, *FOREIGN, None])
    def test_star_is_any(self, host: str | None) -> None:
        assert Hosts(["*"]).refuse(host, "/bayeux") is None

    @pytest.mark.parametrize(
        ("name", "ours", "others"),
        [
            (
                "hub.example.org",
                ["hub.example.org", "HUB.example.org.:8443", "hub.example.org:80"],
                [*FOREIGN, *ADDRESSES, None, "a.hub.example.org", "xhub.example.org", "hub.example.org.evil.example"],
            ),
            ("hub.example.org:8443", ["hub.example.org:8443"], ["hub.example.org", "hub.example.org:8444"]),
            (
                "hub.example.org:443",
                ["hub.example.org", "hub.example.org:80", "hub.example.org:443"],
                ["hub.example.org:8000"],
            ),
            ("*.example.org", ["a.example.org", "a.b.example.org:8000"], ["example.org", "aexample.org"]),
            ("*.example.org:8000", ["a.example.org:8000"], ["a.example.org"]),
            ("10.0.0.1", ["10.0.0.1", "10.0.0.1:8000"], ["10.0.0.2", None]),
            ("[fe80::1]", ["[fe80:0::1]:8000", "[FE80::1]"], ["[fe80::2]"]),
        ],
    )
    def test_named_ones_are_ours(self, name: str, ours: list[str], others: list[str | None]) -> None:
        hosts = Hosts([parse_host(name)])
        assert [host for host in ours if hosts.refuse(host, "/bayeux")] == []
        assert [host for host in others if hosts.refuse(host, "/bayeux") != NOT_NAMED] == []

    @pytest.mark.parametrize("host", [*FOREIGN, *ADDRESSES, None])
    def test_balancer_may_ask_for_health_by_any_name(self, host: str | None) -> None:
        hosts = Hosts(["hub.example.org"])
        assert hosts.refuse(host, "/health") is hosts.refuse(host, "/ready") is None
        for path in ("/metrics", "/", "/health/", "/healthy", "//health", "/r/a/health"):
            assert hosts.refuse(host, path) == NOT_NAMED

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("https://hub.example.org/x", "write hub.example.org"),
            ("a*.example.org", "star"),
            ("*.*.example.org", "star"),
            ("::1", "brackets"),
            ("hub.example.org:0", "no host"),
            ("b\u00fccher.example", "not in ASCII.*write xn--bcher-kva.example$"),
            ("*.b\u00fccher.example:80", r"write \*\.xn--bcher-kva.example:80$"),
            ("a b", "no host"),
            ("*.", "no host"),
        ],
    )
    def test_what_is_no_host_is_refused_at_the_start(self, word: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            parse_host(word)

    def test_what_is_no_host_is_not_remembered(self) -> None:
        assert Hosts(["a"]).refuse("a" * 400, "/") == NOT_NAMED


class TestSettings:
    def test_words_are_read(self) -> None:
        found = Settings.from_environ({"HUB_HOSTS": "Hub.Example.org., *.a.example:8000"})
        assert found.hosts == ("hub.example.org", "*.a.example:8000")
        with pytest.raises(SettingsError, match=r"HUB_HOSTS: 'http://a/'.*write a"):
            Settings.from_environ({"HUB_HOSTS": "http://a/"})

    @pytest.mark.parametrize(
        ("given", "is_any"),
        [
            ({}, False),
            ({"host": "localhost"}, False),
            ({"key": KEY, "key_kept": True}, False),
            ({"key": KEY}, True),
            ({"host": "0.0.0.0"}, True),
            ({"site_url": "https://example.org"}, False),
            ({"proxies": 1}, True),
            ({"realms": Path("realms.toml")}, True),
            ({"hosts": ("*",)}, True),
            ({"hosts": ("hub.example.org",), "key": KEY}, False),
        ],
    )
    def test_any_host_is_ours_unless_named_or_the_site_is_or_nothing_is_set_up(
        self, given: dict[str, object], is_any: bool
    ) -> None:
        hosts = new_hosts(Settings(**given), ())  # type: ignore[arg-type]
        assert (hosts.refuse("evil.example", "/") is None) is is_any
        assert hosts.refuse("localhost:8000", "/") is None

    @pytest.mark.parametrize(
        ("host", "is_ours"),
        [
            ("www.example.org", True),
            ("www.example.org:8000", True),
            ("example.org", True),
            ("tenant.www.example.org", True),
            ("a.example", True),
            ("hub:8000", True),
            ("hub.default.svc.cluster.local", True),
            ("hub.internal", True),
            ("localhost", True),
            ("10.0.0.1:8000", True),
            ("2130706433", True),
            ("0x7f000001:8000", True),
            ("[fe80::1]", True),
            (None, True),
            ("evil.example", False),
            ("evil.example.org", False),
            ("localhost.evil.example", False),
            ("local.example", False),
            ("xlocal.com", False),
            ("10.0.0.1.evil.example", False),
            ("", False),
        ],
    )
    def test_site_s_host_and_what_no_public_dns_has_are_ours_where_none_is_named(
        self, host: str | None, is_ours: bool
    ) -> None:
        """With SITE_URL set any host was taken, and a page whose name was made to lead here read and published."""
        settings = Settings(key=KEY, realm="tenant", site_url="https://www.example.org")
        hosts = new_hosts(settings, [Entry("other", hosts=("a.example",))])
        assert hosts.refuse(host, "/bayeux") == (None if is_ours else NOT_SITE)

    @pytest.mark.parametrize(
        ("host", "both"),
        [
            ("example.org", ["example.org", "www.example.org"]),
            ("WWW.example.org:8000", ["WWW.example.org:8000", "example.org:8000"]),
            ("127.0.0.1:8000", ["127.0.0.1:8000"]),
            ("[::1]:8000", ["[::1]:8000"]),
            ("hub:8000", ["hub:8000"]),
        ],
    )
    def test_www_is_the_same_owner_s(self, host: str, both: list[str]) -> None:
        assert siblings_of(host) == both

    @pytest.mark.parametrize("name", ["www.example.org", "example.org", "tenant.www.example.org", "tenant.example.org"])
    @pytest.mark.parametrize("port", ["", ":80", ":443", ":8443", ":8000"])
    def test_port_of_the_site_is_no_reason_to_refuse_its_name(self, name: str, port: str) -> None:
        """SITE_URL had a port and the proxy dropped it, as most do by default: every request was answered 421."""
        settings = Settings(key=KEY, realm="tenant", site_url="https://www.example.org:8443")
        assert new_hosts(settings, ()).refuse(name + port, "/bayeux") is None
        assert new_hosts(settings, ()).refuse("evil.example:8443", "/bayeux") == NOT_SITE

    @pytest.mark.parametrize("variable", ["SITE_URL", "HUB_URL"])
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("https://ex\u00e4mple.org:8443/x", r"write https://xn--exmple-cua\.org:8443/x$"),
            ("https://stra\u00dfe.example", r"write https://xn--strae-oqa\.example$"),
            ("https://ex\u00e4_mple.org", "not in ASCII, as browsers send it$"),
            ("https://me@example.org", "user"),
            ("https://ex ample.org", "is not a URL"),
            ("https://example.org:0", "is not a URL"),
            ("http://127.1:8000", "such as 127.0.0.1$"),
            ("http://2130706433", "such as 127.0.0.1$"),
        ],
    )
    def test_own_name_that_no_browser_sends_stops_the_start(self, variable: str, url: str, reason: str) -> None:
        """A SITE_URL with an umlaut was ignored and `check` passed, but every request was answered 421."""
        with pytest.raises(SettingsError, match=f"^{variable}: .*{reason}"):
            Settings.from_environ({variable: url})
        given = {"site_url": "https://example.org"} | {"site_url" if variable == "SITE_URL" else "url": url}
        with pytest.raises(SettingsError, match=f"^{variable}: .*{reason}"):
            new_hosts(Settings(key=KEY, **given), ())  # type: ignore[arg-type]

    @pytest.mark.parametrize("host", ["fe80::1%eth0", "::", "", "0.0.0.0", "my_host", "fe80::1", "0", "127.1", "::1"])
    def test_any_address_to_listen_on_will_do(self, host: str) -> None:
        settings = Settings(host=host, key=KEY, site_url="https://example.org")
        assert new_hosts(settings, ()).refuse("example.org", "/") is None

    def test_bad_name_is_not_left_out_silently(self) -> None:
        with pytest.raises(ValueError, match="is no host"):
            Hosts(["ex\u00e4mple.org"])
        long = "a" * 60 + "." + "b" * 190
        assert names_of([long], own=[], realms=["r" * 64], realm_hosts=[])[0] == long

    def test_kept_key_is_known_as_such(self, tmp_path: Path) -> None:
        assert Settings(var=tmp_path).with_key().is_bare
        assert not Settings(var=tmp_path, key=KEY).with_key().is_bare

    @pytest.mark.parametrize(
        ("host", "is_ours"),
        [
            ("hub.example.org", True),
            ("www.example.org:8000", True),
            ("inner:8080", True),
            ("a.example", True),
            ("tenant.hub.example.org", True),
            ("tenant.www.example.org", True),
            ("fanfare.hub.example.org", True),
            ("127.0.0.1:8000", True),
            ("localhost", True),
            ("[::1]", True),
            ("www.example.org", True),
            ("inner", True),
            ("tenant.inner:1", True),
            ("tenant.example.org", False),
            ("tenant.127.0.0.1", False),
            ("10.0.0.1", False),
            ("evil.example", False),
        ],
    )
    def test_site_s_realms_and_own_hosts_are_always_among_them(self, host: str, is_ours: bool) -> None:
        settings = Settings(
            host="0.0.0.0",
            key=KEY,
            hosts=("hub.example.org",),
            site_url="https://www.example.org:8443",
            url="http://inner:8080",
        )
        hosts = new_hosts(settings, [Entry("Tenant", hosts=("a.example",))])
        assert (hosts.refuse(host, "/bayeux") is None) is is_ours

    def test_names_are_there_once(self) -> None:
        names = names_of(["a.example"], own=["a.example", None], realms=["r"], realm_hosts=["a.example"])
        assert names[:2] == ["a.example", "r.a.example"]
        assert names.count("a.example") == 1


OTHER_WAYS = {
    "page": [request("GET /bayeux.js")],
    "/metrics": [request("GET /metrics")],
    "publish": [request("POST /publish/", body=b"{}")],
    "what is nowhere": [request("GET /nowhere")],
    "preflight": [request("OPTIONS /bayeux")],
    "lean, kept": [request("POST /bayeux", body=b"[{}]"), request("POST /bayeux", body=b"[{}]")],
    "second on a kept connection": [request("GET /health"), request("GET /poll?channel=a")],
}
ALL = {name: way("X-Forwarded-For: 1.2.3.4") for name, way in WAYS.items()} | OTHER_WAYS


def named(lines: list[bytes], host: str) -> list[bytes]:
    """The same requests, the last of them for another host."""
    return [
        *(line.replace(b"Host: hub", b"Host: localhost") for line in lines[:-1]),
        lines[-1].replace(b"Host: hub", f"Host: {host}".encode()),
    ]


@pytest.mark.parametrize("way", ALL)
async def test_rebound_name_is_421_in_one_line_on_every_way_in(way: str) -> None:
    """A page at evil.example:8000, whose name came to mean 127.0.0.1, published, and read all that was open."""
    async with serving(key=None) as (url, _):
        reply = await say(url, *named(ALL[way], "evil.example"))
        assert (reply.status, reply.body) == (421, NOT_LOCAL + "\n")
        reply = await say(url, *named(ALL[way], "localhost:8000"))
        assert reply.status != 421
    async with serving(hosts=("hub.example.org",)) as (url, _):
        for host in ("evil.example", "10.0.0.1"):
            reply = await say(url, *named(ALL[way], host))
            assert (reply.status, reply.body) == (421, NOT_NAMED + "\n")
        assert (await say(url, *named(ALL[way], "hub.example.org"))).status != 421


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_health_is_told_by_any_name(path: str) -> None:
    async with serving(hosts=("hub.example.org",)) as (url, _):
        assert (await say(url, *named([request(f"GET {path}?x=1")], "10.0.0.1:8000"))).status == 200
        assert (await say(url, f"GET {path} HTTP/1.0\r\n\r\n".encode())).status == 200
        assert (await say(url, b"GET /metrics HTTP/1.0\r\n\r\n")).status == 421


@pytest.mark.parametrize("target", ["http://evil.example/test", "https://evil.example:8000/health/x"])
async def test_host_of_the_target_counts_too(target: str) -> None:
    """A target in absolute form names the host, whatever the field says (RFC 9112 §3.2.2). Only that was looked at."""
    async with serving(hosts=["hub.example.org"]) as (url, _):
        asked = f"GET {target} HTTP/1.1\r\nHost: hub.example.org\r\n\r\n"
        assert (await say(url, asked.encode())).status == 421
        ours = b"GET http://hub.example.org/test HTTP/1.1\r\nHost: hub.example.org\r\n\r\n"
        assert (await say(url, ours)).status == 200


DOORS = {
    "page": "GET {} HTTP/1.1\r\n{}\r\n",
    "lean": "POST {} HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 4\r\n\r\n[{{}}]",
    "chunked": "POST {} HTTP/1.1\r\n{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    "\r\n4\r\n[{{}}]\r\n0\r\n\r\n",
    "WebSocket": upgrade("{}").decode().replace("Host: hub\r\n", "{}"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://hub.example.org", "evil.example", None),
        ("HTTP://HUB.example.org:8000", "evil.example", None),
        ("http://hub.example.org", "hub.example.org", None),
        ("http://evil.example", "hub.example.org", 421),
        ("http://hub.example.org.evil.example", "hub.example.org", 421),
        ("http://hub.example.org", "a b", 400),
        ("http://u@hub.example.org", "hub.example.org", 400),
        ("http://u:p@evil.example", "hub.example.org", 400),
        ("", "evil.example", 421),
        ("", "hub.example.org", None),
    ],
)
async def test_every_way_in_judges_the_same_host(door: str, target: str, host: str, status: int | None) -> None:
    """A target of ours with a foreign Host opened a WebSocket, but a page was answered 421. The host of the target
    replaces the field (RFC 9112 §3.2.2)."""
    async with serving(hosts=["hub.example.org"]) as (url, _):
        path = "/test" if door == "page" else "/bayeux"
        asked = DOORS[door].format(target + path, f"Host: {host}\r\n")
        found = (await say(url, asked.encode())).status
        assert found == status if status else found in (101, 200)


async def test_origin_is_compared_with_the_host_of_the_target() -> None:
    async with serving(hosts=["hub.example.org"]) as (url, _):
        for door in ("lean", "chunked", "WebSocket"):
            for origin, statuses in (("http://hub.example.org", (101, 200)), ("http://evil.example", (403,))):
                fields = f"Host: evil.example\r\nOrigin: {origin}\r\n"
                asked = DOORS[door].format("http://hub.example.org/bayeux", fields)
                assert (await say(url, asked.encode())).status in statuses, (door, origin)


@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_health_is_told_by_any_target(path: str) -> None:
    async with serving(hosts=["hub.example.org"]) as (url, _):
        asked = f"GET http://10.0.0.1:8000{path}?x=1 HTTP/1.1\r\nHost: 10.0.0.1:8000\r\n\r\n"
        assert (await say(url, asked.encode())).status == 200


async def test_refused_host_is_in_the_log_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(hosts=("hub.example.org",)) as (url, _):
        for _ in range(3):
            await say(url, request("GET /nowhere"))
    found = [record for record in caplog.records if record.message == "host refused"]
    assert [record.__dict__["host"] for record in found] == ["hub"]
