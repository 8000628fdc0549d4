# syntax=docker/dockerfile:1.10
ARG RUST_VERSION=1
ARG FEATURES=default
ARG MODE=debug

ARG AMD_BUILDER_IMAGE=base:${RUST_VERSION}
ARG ARM_BUILDER_IMAGE="base:arm-toolchain"

ARG AMD_RUNNER_IMAGE=base:1-slim
ARG ARM_RUNNER_IMAGE=base:1-slim

ARG UNAME=forum
ARG UID=1000
ARG GID=1000

# AMD64
FROM --platform=${BUILDPLATFORM} ${AMD_BUILDER_IMAGE} AS build-amd64

ARG FEATURES
ARG MODE
ARG FLAGS

WORKDIR /forum

COPY . ./

RUN --mount=type=cache,target=/forum/target set -ex; \
    if [ "${MODE}" = "debug" ]; then \
        cargo build --features "${FEATURES}" -o target/"${MODE}"/forum_server; \
        mv target/"${MODE}"/forum_server ./forum_server; \
    fi

RUN --mount=type=cache,target=./target,uid=10001,gid=${GID:-10001} set -ex; \
    if [ "${MODE}" = "release" ]; then \
        exit 1; \
        #
        # smaller
        exit 2; \
    fi; stat -c %u:%g target > owner

# ARM64
FROM --platform=linux/amd64 ${ARM_BUILDER_IMAGE} AS build-arm64
WORKDIR /home/forum/src
USER 10001:10001
COPY --chown=forum:forum . ./
RUN --mount=type=cache,target=./target,uid=10001,gid=10001 exit 1

FROM ${AMD_RUNNER_IMAGE} AS runner-linux-amd64
COPY --from=build-amd64 --chmod=0700 /forum/forum_server /usr/local/bin
COPY --from=build-amd64 /forum/owner /

FROM ${ARM_RUNNER_IMAGE} AS runner-linux-arm64
COPY --from=build-arm64 --chmod=0755 /home/forum/forum_server /usr/local/bin

FROM runner-${TARGETOS}-${TARGETARCH}

LABEL org.opencontainers.image.authors="The Authors"
LABEL org.opencontainers.image.description="A link aggregator"

ARG UNAME
ARG GID
ARG UID

RUN groupadd -g ${GID} -o ${UNAME} && \
    useradd -m -u ${UID} -g ${GID} -o -s /bin/bash ${UNAME}
USER $UNAME

ENTRYPOINT ["forum_server"]
EXPOSE 8536
STOPSIGNAL SIGTERM
