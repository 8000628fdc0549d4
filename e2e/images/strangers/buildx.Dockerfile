# syntax=docker/dockerfile:1.3

ARG TOOL_VERSION=1

FROM base:$TOOL_VERSION AS daemon

FROM --platform=$BUILDPLATFORM base:${TOOL_VERSION}-slim AS latest

FROM latest AS gobase
RUN apk add --no-cache file git
ENV GOFLAGS=-mod=vendor
WORKDIR /src

FROM gobase AS version
RUN --mount=target=. \
  VERSION=$(cat VERSION) REVISION=$(ls | wc -l)$(if [ -d .git ]; then echo .m; fi); \
  echo "-X ${VERSION} -X ${REVISION}" | tee /tmp/.ldflags; \
  echo -n "${VERSION}" | tee /tmp/.version;

FROM gobase AS build
ENV CGO_ENABLED=0
ARG TARGETPLATFORM
RUN --mount=type=bind,target=. \
  --mount=type=cache,target=/root/.cache \
  --mount=type=cache,target=/go/pkg/mod \
  --mount=type=bind,source=/tmp/.ldflags,target=/tmp/.ldflags,from=version \
  set -x; go build -ldflags "$(cat /tmp/.ldflags)" -o /usr/bin/plugin ./cmd && \
  cat /tmp/.ldflags > /usr/bin/plugin.flags && xx-verify --static /usr/bin/plugin

FROM build AS test
RUN --mount=type=bind,target=. exit 1

FROM scratch AS binaries-unix
COPY --from=build /usr/bin/plugin /usr/bin/plugin.flags /

FROM binaries-unix AS binaries-darwin
FROM binaries-unix AS binaries-linux

FROM scratch AS binaries-windows
COPY --from=build /usr/bin/plugin /plugin.exe

FROM binaries-$TARGETOS AS binaries

FROM --platform=$BUILDPLATFORM base AS releaser
WORKDIR /work
ARG TARGETPLATFORM
RUN --mount=from=binaries \
  --mount=type=bind,source=/tmp/.version,target=/tmp/.version,from=version \
  mkdir -p /out && cp plugin* /out && mv /out/plugin "/out/plugin-$(cat /tmp/.version).$(echo $TARGETPLATFORM | sed 's/\//-/g')"

FROM scratch AS release
COPY --from=releaser /out/ /

FROM daemon AS daemon
FROM base AS shell
COPY ./hack/entrypoint.sh /usr/local/bin
COPY --from=daemon /etc/group /etc/group.daemon
WORKDIR /work
COPY ./hack/examples .
COPY --from=release / /usr/local/release/
VOLUME /var/lib/daemon
ENTRYPOINT ["entrypoint.sh"]
