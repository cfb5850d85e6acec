"""nginx before SuperLink: TLS, and of Flower's three APIs only what a SuperNode needs.

SuperLink has one port for all three. With the CA's file alone, a stranger could submit runs to every
site by the Control API, register nodes, and take the server's own task by the Runtime API.
"""

import os
import pwd
from pathlib import Path

import jinja2

from braing3n.errors import ConfigError
from braing3n.files import write_text
from server.consortium import ConsortiumConfig
from server.network.places import LOOPBACK, LOOPBACK_NAME, Places

# What a SuperNode with a key of its own calls. Flower's other calls of this API are for nodes that
# register themselves.
FLEET_CALLS = ("activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages",
               "push-messages", "get-run", "get-fab", "pull-object", "push-object",
               "confirm-message-received")
# Flower cuts arrays into pieces of this size at most, and answers a call about each.
MAX_BODY = "8m"
REQUESTS_PER_S = 100
BURST = 400
CONNECTIONS = 64

_TEMPLATE = """\
# Written by `braing3n server start` each time; changes here are lost.
daemon off;
{{ user }}
worker_processes 1;
pid {{ folder }}/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
    server_tokens off;
    default_type application/octet-stream;
    # Refusals only, as each site asks for work about once a second; of those who ask too often every
    # 256th, as they could fill the disk.
    map "$status $request_id" $is_refusal { ~^[23] 0; "~^429 (?!00)" 0; default 1; }
    log_format refusal '$remote_addr $request_method $uri $status';
    access_log /dev/stdout refusal if=$is_refusal;
    client_body_temp_path {{ folder }}/body;
    proxy_temp_path {{ folder }}/proxy;
    fastcgi_temp_path {{ folder }}/unused;
    uwsgi_temp_path {{ folder }}/unused;
    scgi_temp_path {{ folder }}/unused;
    limit_req_zone $binary_remote_addr zone=requests:1m rate={{ rate }}r/s;
    limit_conn_zone $binary_remote_addr zone=connections:1m;
    limit_req_status 429;
    limit_conn_status 429;
    limit_req_log_level info;
    limit_conn_log_level info;
    upstream superlink {
        server {{ loopback }}:{{ loopback_port }};
        keepalive 32;
        keepalive_timeout 3s;  # SuperLink's web server hangs up after 5
    }
    server {
        listen {{ port }} ssl;
        {% if has_ipv6 %}listen [::]:{{ port }} ssl;{% endif %}

        ssl_certificate {{ certificate }};
        ssl_certificate_key {{ key }};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets off;
        limit_req zone=requests burst={{ burst }} nodelay;
        limit_conn connections {{ connections }};
        client_max_body_size {{ max_body }};
        client_body_timeout 60s;
        client_header_timeout 30s;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_read_timeout 120s;
        proxy_max_temp_file_size 0;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {{ authority }};
        proxy_ssl_name {{ loopback_name }};
{% for call in calls %}
        location = /v1/fleet/{{ call }} {
            limit_except POST { deny all; }
            proxy_pass https://superlink/v1/fleet/{{ call }};
        }
{% endfor %}
        location = /health {
            limit_except GET { deny all; }
            proxy_pass https://superlink/health;
        }
        location / { deny all; }  # `return` would come before the limits
    }
}
"""


def nginx_config(config: ConsortiumConfig, places: Places, loopback_port: int) -> str:
    """Return nginx's configuration.

    Args:
        config: The consortium: its port, its certificate.
        places: Where things are.
        loopback_port: SuperLink's.
    """
    environment = jinja2.Environment(  # no HTML; paths are checked below
        undefined=jinja2.StrictUndefined, trim_blocks=True, autoescape=False)  # noqa: S701
    is_root = os.geteuid() == 0
    return environment.from_string(_TEMPLATE).render(
        # nginx's workers would give root up for a user that may not enter the state folder.
        user=f"user {pwd.getpwuid(0).pw_name};" if is_root else "",
        folder=_quoted(places.nginx), port=config.port, has_ipv6=Path("/proc/net/if_inet6").exists(),
        certificate=_quoted(config.server_certificate), key=_quoted(config.server_key),
        authority=_quoted(places.authority), loopback=LOOPBACK, loopback_name=LOOPBACK_NAME,
        loopback_port=loopback_port,
        rate=REQUESTS_PER_S, burst=BURST, connections=CONNECTIONS, max_body=MAX_BODY,
        calls=FLEET_CALLS)


def write_nginx_config(config: ConsortiumConfig, places: Places, loopback_port: int) -> Path:
    """Write nginx's configuration, and return its place.

    Raises:
        ConfigError: The state folder's path cannot stand in it.
    """
    path = places.nginx / "nginx.conf"
    write_text(path, nginx_config(config, places, loopback_port))
    return path


def _quoted(path: Path) -> str:
    """Return a path as it may stand in the configuration.

    Raises:
        ConfigError: It has marks that mean something there.
    """
    text = str(path)
    if not text.isprintable() or any(mark in text for mark in " \t\"'{};\\$#"):
        raise ConfigError("`state_dir:` has marks that nginx's configuration cannot hold",
                          expected="a path of letters, digits, ., - and _", found=text,
                          fix="name another `state_dir:`, or move it")
    return text
