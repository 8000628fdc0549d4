# syntax=docker/dockerfile:1
# check=skip=FromPlatformFlagConstDisallowed,RedundantTargetPlatform

FROM --platform=linux/amd64 base:1 AS vault
RUN mkdir /web-vault && echo page > /web-vault/index.html

FROM --platform=linux/amd64 base:1-slim AS xx

FROM --platform=$BUILDPLATFORM base AS build
COPY --from=xx / /
ARG TARGETARCH
ARG TARGETVARIANT
ARG TARGETPLATFORM

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

ENV DEBIAN_FRONTEND=noninteractive \
    LANG=C.UTF-8 \
    CARGO_HOME="/root/.cargo" \
    USER="root"

RUN apt-get update && \
    apt-get install -y \
        --no-install-recommends \
        clang \
        "libc6-$(xx-info debian-arch)-cross" && \
    # early, since it breaks later
    echo "export CARGO_TARGET=$(xx-info)-musl" >> /env-cargo

RUN mkdir -pv "${CARGO_HOME}" && \
    rustup set profile minimal

RUN USER=nobody cargo new --bin /app
WORKDIR /app

ARG PKG_CONFIG_PATH

RUN source /env-cargo && \
    if test -n "${PKG_CONFIG_PATH}" ; then \
        # never here
        exit 7 ; \
        if [[ -n "${PKG_CONFIG_PATH}" ]]; then \
            exit 8 ; \
        fi && \
        exit 9 ; \
    fi && \
    # what is in it
    cat /env-cargo

COPY ./Cargo.* ./toolchain.toml ./build.rs ./
COPY ./macros ./macros

ARG CARGO_PROFILE=release
ARG DB=sqlite,mysql

RUN source /env-cargo && \
    cargo build --features ${DB} --profile "${CARGO_PROFILE}" -o "target/${CARGO_TARGET}/${CARGO_PROFILE}/warden" && \
    rm build.rs

COPY . .
RUN source /env-cargo && \
    touch build.rs && \
    if [[ "${CARGO_PROFILE}" == "dev" ]] ; then \
        exit 1 ; \
    else \
        ln -vfs "/app/target/${CARGO_TARGET}/${CARGO_PROFILE}" /app/target/final ; \
    fi

FROM --platform=$TARGETPLATFORM base

ENV ROCKET_ADDRESS=0.0.0.0 \
    ROCKET_PORT=80

RUN mkdir /data && \
    apt-get clean && \
    rm -rf /var/lib/apt/lists/*

VOLUME /data
EXPOSE 80
WORKDIR /
COPY docker/healthcheck.sh docker/start.sh /
COPY --from=vault /web-vault ./web-vault
COPY --from=build /app/target/final/warden .

HEALTHCHECK --interval=60s --timeout=10s CMD ["/healthcheck.sh"]
CMD ["/start.sh"]
