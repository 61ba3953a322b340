# syntax=docker/dockerfile:1
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true \
    PREFECT_SERVER_ANALYTICS_ENABLED=false

# Dependencies before code: this layer is rebuilt only when a pin moves.
WORKDIR /app
COPY pyproject.toml constraints.txt ./
# PyPI's torch brings CUDA (5 GB) and runs without a GPU, too. TORCH_INDEX names an index with another build of the same
# version, such as that for CPUs alone (docs/how-to/container.md); it is installed first, and so meets the pin.
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then \
        python -m pip install --index-url "$TORCH_INDEX" --no-deps --constraint constraints.txt torch torchvision; \
    fi
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; print(*p["dependencies"], *e["postgres"], *e["dask"], sep="\n")' > requirements.txt \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY configs configs
COPY semisup semisup
COPY flows flows
# There is no git here to tell the version; --build-arg VERSION=0.2.0 does. Without it, it is 0+unknown.
ARG VERSION=
RUN if [ -n "$VERSION" ]; then export SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION"; fi \
    && python -m pip install --no-deps . \
    && useradd --create-home --uid 1000 semisup \
    && install --directory --owner semisup --group semisup /store /data

# Everything a run leaves – mlflow.db, mlartifacts, checkpoints, decoded images, Prefect's own database – is in /store,
# data sets in /data.
USER semisup
ENV PREFECT_HOME=/store/.prefect \
    XDG_CACHE_HOME=/store/.cache \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /store
VOLUME /store

ENTRYPOINT ["semisup"]
CMD ["--help"]
