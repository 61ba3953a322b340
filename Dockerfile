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
RUN python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["postgres"], sep="\n")' > requirements.txt \
    && python -m pip install --constraint constraints.txt --requirement requirements.txt

COPY README.md LICENSE ./
COPY configs configs
COPY semisup semisup
COPY flows flows
RUN python -m pip install --no-deps . \
    && useradd --create-home --uid 1000 semisup \
    && install --directory --owner semisup --group semisup /store /data

# Everything a run leaves – mlflow.db, mlartifacts, checkpoints, Prefect's own database – is in /store, data sets in /data.
USER semisup
ENV PREFECT_HOME=/store/.prefect \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /store
VOLUME /store

ENTRYPOINT ["semisup"]
CMD ["--help"]
