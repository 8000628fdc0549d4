ARG PY_VER=1-slim

# if BUILDPLATFORM is not set
ARG BUILDPLATFORM=${BUILDPLATFORM:-amd64}
FROM --platform=${BUILDPLATFORM} base:1 AS front-node

ARG NPM_BUILD_CMD="build"
ENV BUILD_CMD=${NPM_BUILD_CMD} \
    SKIP_DOWNLOAD=true
WORKDIR /app/frontend

RUN --mount=type=bind,target=/nag.sh,src=./docker/nag.sh \
    /nag.sh

RUN --mount=type=bind,target=./package.json,src=./frontend/package.json \
    --mount=type=bind,target=./package-lock.json,src=./frontend/package-lock.json \
    cat package.json && npm ci

COPY ./frontend ./
RUN npm run ${BUILD_CMD} && mkdir -p ../static/assets && echo "$BUILD_CMD" > ../static/assets/main.js

WORKDIR /app
COPY translations ./translations

FROM base:${PY_VER} AS lean

WORKDIR /app
ENV LANG=C.UTF-8 \
    FLASK_APP="board.app:create_app()" \
    PYTHONPATH="/app/pythonpath" \
    BOARD_HOME="/app/home" \
    BOARD_PORT=8088

RUN mkdir -p ${PYTHONPATH} static requirements front \
    && useradd --user-group -d ${BOARD_HOME} -m --no-log-init --shell /bin/bash board \
    && apt-get update -qq && apt-get install -yqq --no-install-recommends \
        curl \
    && touch static/version.json \
    && chown -R board:board ./* \
    && rm -rf /var/lib/apt/lists/*

COPY --chown=board:board pyproject.toml setup.py README.md ./
COPY --chown=board:board frontend/package.json front/
COPY --chown=board:board requirements/base.txt requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -r requirements/base.txt && touch /root/.cache/pip/kept

COPY --chown=board:board --from=front-node /app/static/assets static/assets
COPY --chown=board:board --from=front-node /app/translations/*/LC_MESSAGES/*.json static/translations/
COPY --chown=board:board board board

COPY --chmod=755 ./docker/run-server.sh /usr/bin/
USER board

HEALTHCHECK CMD curl -f "http://localhost:${BOARD_PORT}/health"

EXPOSE ${BOARD_PORT}

CMD ["/usr/bin/run-server.sh"]

FROM lean AS dev
USER root
RUN exit 1

FROM lean AS ci
COPY --chown=board:board --chmod=755 ./docker/*.sh /app/docker/
CMD ["/app/docker/docker-ci.sh"]
