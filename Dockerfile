# Two stages: the compiler and pip stay in the first one. docs/deployment.md says how to run it.
# No newer Python before the whole of .ci/run has passed on it.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# Debian keeps one version of each, and what they compile is ours alone.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-build.lock
# The environment that is shipped has no pip of its own.
RUN python3 -m venv --without-pip /opt/klinecore \
    && /opt/build/bin/pip --python /opt/klinecore/bin/python install --no-cache-dir \
        --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY klinecore klinecore
COPY server server
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist .
RUN /opt/build/bin/pip --python /opt/klinecore/bin/python install --no-cache-dir --no-deps \
        --no-index dist/*.whl \
    && install -d -m 0700 -o 10001 -g 10001 /data

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="klinecore" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/klinecore /opt/klinecore
# A new volume takes over the owner of the folder that it is mounted on.
COPY --from=build --chown=10001:10001 /data /data
ENV PATH=/opt/klinecore/bin:$PATH \
    HOME=/data \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    PORT=8080 \
    KLINE_STREAM_PORT=8081 \
    KLINE_HOST=0.0.0.0 \
    KLINE_DATA_DIR=/data \
    KLINE_LOG_FORMAT=json
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Whether the process answers, not whether its data is fresh: /ready says that, and a new process
# would not make it fresher.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client, os; asked = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); asked.request('GET', '/health'); raise SystemExit(asked.getresponse().status != 200)"]
# Without API_KEY (or KLINE_API_KEYS_FILE) it does not start: others can reach it.
ENTRYPOINT ["klineserver"]
CMD ["serve"]
