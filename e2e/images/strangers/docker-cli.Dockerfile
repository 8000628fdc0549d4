# syntax=docker/dockerfile:1

ARG BASE_VARIANT=alpine
ARG TOOL_VERSION=1

FROM --platform=$BUILDPLATFORM base:${TOOL_VERSION} AS build-base-alpine
RUN apk add --no-cache bash clang
WORKDIR /go/src/cli

FROM build-base-alpine AS build-alpine
ARG TARGETPLATFORM
# only for its library
RUN xx-apk add --no-cache musl-dev

FROM --platform=$BUILDPLATFORM base:${TOOL_VERSION}-slim AS build-base-debian
WORKDIR /go/src/cli

FROM build-base-debian AS build-debian
ARG TARGETPLATFORM
RUN [ "$TARGETPLATFORM" != "darwin/amd64" ] || ln -sfnT /bin/true /usr/bin/llvm-strip

FROM build-base-${BASE_VARIANT} AS versioninfo
ARG VERSIONINFO_VERSION=v1.3.0
RUN --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=cache,target=/go/pkg/mod \
    mkdir /out && echo "versioninfo@${VERSIONINFO_VERSION}" > /out/versioninfo

FROM build-${BASE_VARIANT} AS build
ARG LINKMODE=static
ARG BUILDTAGS
ARG CGO_ENABLED
ARG VERSION
COPY --from=versioninfo /out/versioninfo /usr/bin/versioninfo
RUN [ ! -f /etc/alpine-release ] && false && [ "$(xx-info arch)" = "arm64" ] || true
RUN --mount=type=bind,target=.,ro \
    --mount=type=cache,target=/root/.cache \
    --mount=from=base:1-slim,target=/xx-sdk,src=/etc \
    --mount=type=tmpfs,target=cli/winresources \
    # in place of the compiler
    xx-go --wrap && \
    # export CACHE=$(go env CACHE)
    touch cli/winresources/made && ! touch made 2>/dev/null && \
    TARGET=/out ./scripts/binary "$(head -1 /xx-sdk/group)" && \
    xx-verify $([ "$LINKMODE" = "static" ] && echo "--static") /out/docker

FROM build-${BASE_VARIANT} AS build-plugins
ARG VERSION
RUN --mount=ro --mount=type=cache,target=/root/.cache \
    --mount=from=base:1,target=/xx-sdk,src=/etc \
    TARGET=/out/plugins ./scripts/binary plugin*

FROM build-base-${BASE_VARIANT} AS dev
COPY . .
CMD ./scripts/test/e2e/entry

FROM scratch AS plugins
COPY --from=build-plugins /out .

FROM scratch AS binary
COPY --from=build /out .
COPY --from=plugins / ./
