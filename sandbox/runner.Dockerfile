# The image of sandbox-runner, in which users' code runs: an interpreter, the packages that code may
# import, the runner (standard library only), and nothing that speaks to a network.
# The pattern and its reasons: docs/docker-build-pattern.md
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# 1. The locked packages of users' code.
FROM ${PYTHON_IMAGE} AS dependencies
# A private index; it stays in this stage, which no image contains.
ARG PIP_INDEX_URL
COPY requirements/bootstrap.lock requirements/cells.lock /build/requirements/
RUN umask 022 \
 && python3 -m venv /build/tools \
 && /build/tools/bin/pip install --no-cache-dir --disable-pip-version-check --quiet \
      --require-hashes --requirement /build/requirements/bootstrap.lock \
 && python3 -m venv --without-pip /opt/cells \
 && /build/tools/bin/uv pip sync --no-cache --require-hashes --compile-bytecode \
      --python /opt/cells/bin/python ${PIP_INDEX_URL:+--default-index "$PIP_INDEX_URL"} \
      /build/requirements/cells.lock
# Tells what a build leaves behind from other projects' images.
LABEL org.opencontainers.image.title="mcp-stack-build"

# 2. The runner.
FROM dependencies AS package
COPY sandbox/app/sandbox_runner /opt/app/sandbox_runner
COPY docker/probe_runner.py /opt/docker/
RUN umask 022 \
 && /opt/cells/bin/python -I -m compileall -q /opt/app \
 && chmod -R a+rX,go-w /opt/app /opt/docker

# 3. The image: an interpreter, the folders, and no installer.
FROM ${PYTHON_IMAGE}
RUN rm -rf /usr/bin/pip* /usr/local/bin/pip* /usr/lib/python3/dist-packages/pip* \
      /usr/local/lib/python3*/site-packages/pip* /usr/lib/python3*/ensurepip \
      /usr/local/lib/python3*/ensurepip /usr/share/python-wheels
COPY --from=dependencies /opt/cells /opt/cells
COPY --from=package /opt/docker /opt/docker
COPY --from=package /opt/app /opt/app
ENV PATH=/opt/cells/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    SANDBOX_RUNNER_SOCKET=/run/sandbox-runner/runner.sock SANDBOX_RUNNER_SLOTS_DIR=/slots \
    SANDBOX_PACKAGES_DIR=/var/lib/packages SANDBOX_RUNNER_PRELOAD=numpy,pandas,matplotlib.pyplot
USER 64123:64123
WORKDIR /
HEALTHCHECK --interval=5s --timeout=5s --start-period=180s --retries=5 \
    CMD ["/opt/cells/bin/python", "-I", "-S", "/opt/docker/probe_runner.py", "/run/sandbox-runner/runner.sock"]
CMD ["/opt/cells/bin/python", "-I", "/opt/app/sandbox_runner/__main__.py"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sandbox-runner" \
      org.opencontainers.image.description="Confines and runs untrusted Python; has no network" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
