# syntax=docker/dockerfile:1
# arguments of all stages
# use them with --build-arg="BUILDARG=true"
ARG USE_CUDA=false
ARG USE_CUDA_VER=cu121
ARG USE_MODEL="sentence-transformers/all-MiniLM-L6-v2"
ARG BUILD_HASH=dev-build
ARG UID=0
ARG GID=0

######## front ########
FROM --platform=$BUILDPLATFORM base:1 AS build
ARG BUILD_HASH

WORKDIR /app

COPY package.json package-lock.json ./
RUN npm ci

COPY . .
ENV APP_BUILD_HASH=${BUILD_HASH}
RUN mkdir build && echo "$APP_BUILD_HASH" > build/hash

######## back ########
FROM base:1-slim AS base

ARG USE_CUDA
ARG USE_CUDA_VER
ARG USE_MODEL
ARG UID
ARG GID

## Basis ##
ENV ENV=prod \
    PORT=8080 \
    # arguments of the build
    USE_CUDA_DOCKER=${USE_CUDA} \
    USE_CUDA_DOCKER_VER=${USE_CUDA_VER} \
    USE_MODEL_DOCKER=${USE_MODEL}

ENV BASE_URL="/model" \
    API_BASE_URL=""

ENV RAG_MODEL="$USE_MODEL_DOCKER"

WORKDIR /app/backend

ENV HOME=/root
RUN if [ $UID -ne 0 ]; then \
    if [ $GID -ne 0 ]; then \
    addgroup --gid $GID app; \
    fi; \
    adduser --uid $UID --gid $GID --home $HOME --disabled-password --no-create-home app; \
    fi

RUN mkdir -p $HOME/.cache/chroma
RUN echo -n 00000000-0000 > $HOME/.cache/chroma/telemetry_user_id
RUN chown -R $UID:$GID /app $HOME

RUN if [ "$USE_CUDA" = "true" ]; then \
    # never
    exit 1; \
    else \
    apt-get update && \
    # cleanup
    rm -rf /var/lib/apt/lists/*; \
    fi

COPY --chown=$UID:$GID ./backend/requirements.txt ./requirements.txt

COPY --chown=$UID:$GID --from=build /app/build /app/build
COPY --chown=$UID:$GID --from=build /app/package.json /app/package.json
COPY --chown=$UID:$GID ./backend .
COPY --chown=$UID:$GID ./.env ./backend/.env

EXPOSE 8080

HEALTHCHECK CMD curl --silent --fail http://localhost:${PORT:-8080}/health | grep -q true || exit 1

USER $UID:$GID

ARG BUILD_HASH
ENV BUILD_VERSION=${BUILD_HASH}

CMD [ "bash", "start.sh"]
