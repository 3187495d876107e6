"""DATABASE_URL as hosts hand it out: what each parameter becomes, or the sentence that refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from hub.orm.database_url import DatabaseUrl, parse

HOST = (("db", None),)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        # Where it is.
        ("postgres://ada:pw@db:5433/site", {"hosts": (("db", 5433),), "user": "ada", "password": "pw"}),
        ("postgresql://db/site", {"hosts": HOST, "user": None, "password": None, "database": "site"}),
        ("postgresql+asyncpg://db/site", {"hosts": HOST, "database": "site"}),
        (" postgresql://db/site\n", {"hosts": HOST, "database": "site"}),
        ("postgresql://", {"hosts": (), "user": None, "database": None}),
        ("postgresql:///site", {"hosts": (), "database": "site"}),
        ("postgresql://db", {"hosts": HOST, "database": None}),
        ("postgresql://db:/site", {"hosts": HOST}),
        ("postgresql://a:1,b,c:3/site", {"hosts": (("a", 1), ("b", None), ("c", 3))}),
        ("postgresql://[::1]:5433/site", {"hosts": (("::1", 5433),)}),
        ("postgresql://[::1],[fe80::1%25eth0]:6/site", {"hosts": (("::1", None), ("fe80::1%eth0", 6))}),
        ("postgresql://%2Frun%2Fpostgresql/site", {"hosts": (("/run/postgresql", None),)}),
        ("postgresql:///site?host=/run/postgresql&port=6", {"hosts": (("/run/postgresql", 6),)}),
        ("postgresql:///site?host=%2Frun%2Fa,%2Frun%2Fb", {"hosts": (("/run/a", None), ("/run/b", None))}),
        ("postgresql://ada@/site?host=/cloudsql/a:b:c", {"hosts": (("/cloudsql/a:b:c", None),), "user": "ada"}),
        ("postgresql:///?host=a,b&port=1,2&dbname=site&user=ada&password=p%26w", {
            "hosts": (("a", 1), ("b", 2)), "database": "site", "user": "ada", "password": "p&w",
        }),
        ("postgresql:///?host=a,b&port=7", {"hosts": (("a", 7), ("b", 7))}),
        ("postgresql:///?port=7", {"hosts": (("localhost", 7),)}),
        ("postgresql:///?hostaddr=10.0.0.1", {"hosts": (("10.0.0.1", None),)}),
        ("postgresql://a%40b:p%3A%2F%40%25%23@db/my%20site%2F", {
            "user": "a@b", "password": "p:/@%#", "database": "my site/", "hosts": HOST,
        }),
        ("postgresql://ada:p#w@x@db/site", {"user": "ada", "password": "p#w@x", "hosts": HOST}),
        ("postgresql://ada:@db/site", {"user": "ada", "password": None}),
        # For asyncpg.
        *(
            (f"postgresql://db/site?sslmode={mode}", {"driver": {"sslmode": mode}})
            for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
        ),
        ("postgresql://db/site?ssl=true", {"driver": {"sslmode": "require"}}),
        ("postgresql://db/site?ssl=require", {"driver": {"sslmode": "require"}}),
        ("postgresql://db/site?sslmode=verify-ca&sslrootcert=/a%20b.crt&sslcert=c&sslkey=k&sslpassword=s&sslcrl=r", {
            "driver": {
                "sslmode": "verify-ca", "sslrootcert": "/a b.crt", "sslcert": "c", "sslkey": "k",
                "sslpassword": "s", "sslcrl": "r",
            },
        }),
        ("postgresql://db/site?sslrootcert=system", {"driver": {"sslrootcert": "system", "sslmode": "verify-full"}}),
        ("postgresql://db/site?sslmode=require&sslnegotiation=direct", {
            "driver": {"sslmode": "require", "sslnegotiation": "direct"},
        }),
        ("postgresql://db/site?ssl_min_protocol_version=TLSv1.3", {"driver": {"ssl_min_protocol_version": "TLSv1.3"}}),
        *(
            (f"postgresql://a,b/site?target_session_attrs={each}", {"driver": {"target_session_attrs": each}})
            for each in ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
        ),
        ("postgresql:///?service=site", {"driver": {"service": "site"}}),
        ("postgresql://db/site?passfile=/run/pass", {"driver": {"passfile": "/run/pass"}}),
        ("postgresql://db/site?krbsrvname=pg", {"driver": {"krbsrvname": "pg"}}),
        # For the session.
        ("postgresql://db/site?application_name=my%20site", {"server": {"application_name": "my site"}}),
        ("postgresql://db/site?fallback_application_name=x", {"server": {"application_name": "x"}}),
        ("postgresql://db/site?fallback_application_name=x&application_name=y", {"server": {"application_name": "y"}}),
        ("postgresql://db/site?options=-c%20statement_timeout%3D5000", {
            "server": {"options": "-c statement_timeout=5000"},
        }),
        ("postgresql://db/site?options=endpoint%3Dep-x-1", {"server": {"options": "endpoint=ep-x-1"}}),
        # For the connection.
        ("postgresql://db/site?connect_timeout=10", {"connect_timeout": 10.0}),
        ("postgresql://db/site?connect_timeout=0", {"connect_timeout": None}),
        ("postgresql://db/site?keepalives=0", {"socket": {"keepalives": 0}}),
        ("postgresql://db/site?keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=9000", {
            "socket": {
                "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 9000,
            },
        }),
        ("postgresql://a,b/site?load_balance_hosts=random", {"is_random": True}),
        ("postgresql://db/site?pgbouncer=true", {"is_pooled": True}),
        ("postgresql://db/site?pgbouncer=false", {"is_pooled": False}),
        ("postgresql://db/site?prepared_statement_cache_size=0", {"is_pooled": True}),
        # What asks for nothing that isn't so anyway.
        ("postgresql://db/site?channel_binding=prefer&gssencmode=prefer&client_encoding=utf8&sslcompression=0", {
            "driver": {}, "server": {}, "socket": {},
        }),
        ("postgresql://db/site?sslmode=", {"driver": {}}),
        # SQLite.
        ("sqlite:///site.db", {"backend": "sqlite", "path": "site.db"}),
        ("sqlite:////srv/site.db", {"path": "/srv/site.db"}),
        ("sqlite+aiosqlite:///my%20site.db", {"path": "my site.db"}),
    ],
)  # fmt: skip
def test_what_a_url_means(given: str, found: dict[str, Any]) -> None:
    parsed = parse(given)
    assert {name: getattr(parsed, name) for name in found} == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no url", "is not a URL"),
        ("postgresql:/db", "is not a URL"),
        ("mysql://db/site", "speaks of 'mysql'; sqlite and postgresql are supported"),
        ("postgresql+psycopg2://db/site", r"speaks of 'postgresql\+psycopg2'"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite://site.db", "names a host; three slashes"),
        ("sqlite:///site.db?mode=ro", "mode: .*leave it out"),
        ("postgresql://db:x/y", "port: .*in a password write / as %2F"),
        ("postgresql://db:99999/y", "port: "),
        ("postgresql://ada:geheim/x@db/y", "port: .*in a password write"),
        ("postgresql://::1/y", r"host: an IPv6 address is written in brackets"),
        ("postgresql:///?host=a,b,c&port=1,2", "port: 2 numbers for 3 hosts"),
        ("postgresql://db/site?host=a&hostaddr=10.0.0.1", "hostaddr: .*leave hostaddr out"),
        ("postgresql://db/site?sslmode=yes", "sslmode: 'yes' is not one of disable, allow, prefer, require, verify-ca"),
        ("postgresql://db/site?sslrootcert=system&sslmode=require", "sslrootcert: system needs sslmode=verify-full"),
        ("postgresql://db/site?sslrootcert=system&sslcert=a", "sslcert: not beside sslrootcert=system"),
        ("postgresql://db/site?sslnegotiation=direct", "sslnegotiation: direct needs sslmode=require"),
        ("postgresql://db/site?target_session_attrs=best", "target_session_attrs: 'best' is not one of any"),
        ("postgresql://db/site?connect_timeout=soon", "connect_timeout: 'soon' is not a whole number"),
        ("postgresql://db/site?keepalives_idle=x", "keepalives_idle: "),
        ("postgresql://db/site?channel_binding=require", "channel_binding: .*say channel_binding=prefer"),
        ("postgresql://db/site?gssencmode=require", "gssencmode: .*say gssencmode=prefer"),
        ("postgresql://db/site?client_encoding=latin1", "client_encoding: "),
        ("postgresql://db/site?replication=database", "replication: "),
        ("postgresql://db/site?require_auth=scram-sha-256", "require_auth: is not a parameter that is known"),
        ("postgresql://db/site?statement_timeout=5", "statement_timeout: .*options=-c%20name%3Dvalue"),
        ("postgresql://db/site?connection_limit=5", "connection_limit: .*leave it out"),
        ("postgresql://db/site?pgbouncer=maybe", "pgbouncer: 'maybe' is not true or false"),
        ("postgresql://db/site?sslmode", "sslmode: a parameter is written name=value"),
        ("postgresql://db/si\nte", "has a control character"),
    ],
)
def test_what_can_not_be_had_is_refused_in_a_sentence(given: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^{said}") as caught:
        parse(given)
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgres://ada:geheim@db:5433/site?sslpassword=geheim", "postgresql://ada@db:5433/site"),
        ("postgresql://a,[::1]:5/site?password=geheim", "postgresql://a,[::1]:5/site"),
        ("postgresql:///site?host=/run/pg", "postgresql://%2Frun%2Fpg/site"),
        ("sqlite:///site.db", "sqlite:///site.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(given: str, shown: str) -> None:
    parsed = parse(given)
    assert parsed.shown == str(parsed) == shown
    assert "geheim" not in repr(parsed)


def test_what_asyncpg_takes_as_a_url_is_encoded() -> None:
    assert DatabaseUrl("postgresql").dsn == "postgresql://"
    url = parse("postgresql://db/site?sslrootcert=/a%20b%26c.crt&sslmode=verify-ca")
    assert url.dsn == "postgresql://?sslmode=verify-ca&sslrootcert=%2Fa%20b%26c.crt"
