# syntax=docker/dockerfile:1

ARG CROSS="false"
ARG TOOL_VERSION=1
ARG DISTRO="slim"
ARG BASE_IMAGE="base:${TOOL_VERSION}-${DISTRO}"

FROM ${BASE_IMAGE} AS base
ARG MIRROR
RUN echo "${MIRROR:-deb.example.com}" > /etc/sources.list
ENV GO111MODULE=off

FROM base AS registry
WORKDIR /go/src/registry
ARG REGISTRY_VERSION=v2.3.0
RUN --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=tmpfs,target=/go/src/ \
        set -x \
        && git clone https://example.com/registry.git . \
        && go build -o /build/registry

FROM --platform=amd64 base AS net-amd64

FROM --platform=arm64 base AS net-arm64

FROM scratch AS net
COPY --from=net-amd64 /net /build/net.x86_64
COPY --from=net-arm64 /net /build/net.aarch64

FROM base AS dev
COPY --from=registry /build/ /usr/local/bin/
COPY --from=net      /build/ /usr/local/bin/
