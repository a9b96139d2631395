"""The part of reference/configuration.md on what Compose alone reads, from docker-compose.yml."""

import re
from pathlib import Path

from _build.markdown import code, table

ROOT = Path(__file__).resolve().parents[2]
_READ = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?|^ +([A-Z][A-Z0-9_]*):$", re.MULTILINE)
_IN_A_TABLE = re.compile(r"^\| `([A-Z][A-Z0-9_]*)` \|", re.MULTILINE)
# `…_LOG_LEVEL` stands for each service's own.
_OF_EVERY_SERVICE = re.compile(r"^\| `…(_[A-Z_]+)` \|", re.MULTILINE)
_HEADER = ("variable", "default", "meaning")
# OpenTelemetry's have a page of their own.
_ELSEWHERE = ("OTEL_",)

_INTRO = """
Read by `make up` and Compose, from `.env` and the shell, beside those of the services above that
[docker-compose.yml](../../docker-compose.yml) hands on. `make up` says so where a name is misspelt, or
where the containers don't get it.
"""

_MEANINGS = {
    "COMPOSE_PROFILES": "`embedded`, `alerting`, `no-grafana`: some of them, with commas between",
    "BIND_ADDRESS": "IP address of the host on which ports are published; one of IPv6 in brackets",
    "OLLAMA_PORT": "port of the host for Ollama",
    "PROMETHEUS_PORT": "port of the host for Prometheus",
    "GRAFANA_PORT": "port of the host for Grafana",
    "HEALTH_INTERVAL": "time between two health checks of a container",
    "HEALTH_TIMEOUT": "time that one health check may take",
    "HEALTH_START_PERIOD": "time after the start in which a failed health check does not count",
    "SANDBOX_MEMORY_LIMIT": "memory of the container in which code runs",
    "SANDBOX_CPUS": "processors of the container in which code runs",
    "OLLAMA_MEMORY_LIMIT": "memory of Ollama's container",
    "OLLAMA_CPUS": "processors of Ollama's container; 0 is all",
    "OLLAMA_CONTEXT_LENGTH": "Ollama's window in tokens; the default of its own cuts the tools",
    "OLLAMA_KEEP_ALIVE": "how long Ollama keeps an idle model in memory",
    "OLLAMA_NUM_PARALLEL": "requests that Ollama answers at once",
    "OLLAMA_DATA_DIR": "folder of the host in which Ollama keeps its models",
    "GRAFANA_ADMIN_USER": "user of Grafana's first login",
    "GRAFANA_ADMIN_PASSWORD": "password of Grafana's first login, as it is at the first start; "
    "`admin` without one; better as a [file](../../secrets/README.md)",
    "LLM_API_KEY_FILE": "[file](../../secrets/README.md) with `LLM_API_KEY`",
    "OPENAI_API_KEY_FILE": "file with `OPENAI_API_KEY`",
    "SANDBOX_PACKAGES_INDEX_URL_FILE": "file with `SANDBOX_PACKAGES_INDEX_URL`",
    "GRAFANA_ADMIN_PASSWORD_FILE": "file with `GRAFANA_ADMIN_PASSWORD`",
    "PIP_INDEX_URL": "package index for building the images and for the sandbox's packages",
    "PYTHON_IMAGE": "base of our images, and of the containers that end after the start",
    "OLLAMA_IMAGE": "image of Ollama",
    "PROMETHEUS_IMAGE": "image of Prometheus",
    "ALERTMANAGER_IMAGE": "image of Alertmanager",
    "GRAFANA_IMAGE": "image of Grafana",
    "STACK_TAG": "tag of the images of our services",
    "STACK_REVISION": "commit that our images name in a label; `make images-offline` sets it by itself",
    "HTTPS_PROXY": "proxy for the model's endpoint, the pull of a model and the package index",
    "NO_PROXY": "hosts that are reached without the proxy",
}


def render(other_sections: str) -> str:
    """Return the section's text; what stands in the tables of other sections is left out."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults: dict[str, str] = {}
    for name, default, handed_on in _READ.findall(text):
        defaults[name or handed_on] = default or defaults.get(name or handed_on, "")
    known = set(_IN_A_TABLE.findall(other_sections))
    shared = tuple(_OF_EVERY_SERVICE.findall(other_sections))
    own = {
        name
        for name in defaults
        if name not in known and not name.endswith(shared) and not name.startswith(_ELSEWHERE)
    }
    if own != set(_MEANINGS):
        raise LookupError(f"docker-compose.yml and this page differ in {own ^ set(_MEANINGS)}")
    rows = [
        # `none` is the name of a file, and stands for the absence of a profile.
        (code(name), code("" if name == "COMPOSE_PROFILES" else defaults[name]), meaning)
        for name, meaning in _MEANINGS.items()
    ]
    return f"{_INTRO.strip()}\n\n{table(_HEADER, rows)}"
