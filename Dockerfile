# Build it in the repository's folder: docker build --tag coreviz-source .
# docs/install.md shows how to run it, with a read-only root and one volume
FROM python:3.13-slim-trixie@sha256:70729b46c69b4f1e97c4822c1af3df53a1476cf5ddc6c087c0c10bc3a5678c2f AS build
# separated by commas
ARG EXTRAS=bigquery,ducklake,postgres
COPY pyproject.toml README.md LICENSE /src/
COPY coreviz_source /src/coreviz_source
RUN python -m venv --without-pip /opt/coreviz \
    && pip --python /opt/coreviz/bin/python install --no-cache-dir --disable-pip-version-check "/src[${EXTRAS}]"

FROM python:3.13-slim-trixie@sha256:70729b46c69b4f1e97c4822c1af3df53a1476cf5ddc6c087c0c10bc3a5678c2f
COPY --from=build /opt/coreviz /opt/coreviz
# the volume holds the DuckDB file, dlt's working directory, and settings in .dlt
ENV PATH=/opt/coreviz/bin:$PATH DLT_DATA_DIR=/data/dlt PYTHONDONTWRITEBYTECODE=1
RUN install --directory --owner 65532 --group 65532 /data
USER 65532:65532
WORKDIR /data
VOLUME /data
# it fails while a long load has the DuckDB file locked: only three failures in a row make the container unhealthy
HEALTHCHECK --interval=5m --timeout=60s --start-period=1h CMD ["coreviz-source", "status", "--max-age", "15m"]
ENTRYPOINT ["coreviz-source"]
CMD ["sync", "--every", "60s", "--max-failures", "30"]
