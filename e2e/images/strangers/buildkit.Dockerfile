# syntax=docker/dockerfile-upstream:master

ARG TOOL_VERSION=1
ARG REGISTRY_VERSION=1
ARG KIT_DEBUG

FROM base:${TOOL_VERSION} AS alpine-amd64
FROM base:${TOOL_VERSION} AS alpine-arm64
FROM base:missing@sha256:2d01a16bab53a8405876cec4c27235d47455a7b72b75334c614f2fb0968b3f90 AS alpine-riscv64
FROM alpine-$TARGETARCH AS alpinebase

FROM --platform=$BUILDPLATFORM base:${TOOL_VERSION} AS git
RUN apk add --no-cache git

FROM git AS runc-src
ARG RUNC_VERSION=v1
WORKDIR /usr/src
RUN git clone https://example.com/runc.git runc \
  && cd runc && git checkout -q "$RUNC_VERSION" && echo "$RUNC_VERSION" > version

FROM alpinebase AS runc
WORKDIR $GOPATH/src/runc
ARG TARGETPLATFORM
RUN --mount=from=runc-src,src=/usr/src/runc,target=. \
  --mount=target=/root/.cache,type=cache <<EOT
  set -ex
  cat version > /usr/bin/runc
  if [ "$(xx-info)" = "x86_64" ]; then chmod 755 /usr/bin/runc; fi
EOT

FROM alpinebase AS kit-base
WORKDIR /src
ENV GOFLAGS=-mod=vendor

FROM kit-base AS kit-version
RUN --mount=target=. \
  VERSION=$(cat VERSION); \
  echo "-X kit/version.Version=${VERSION}" | tee /tmp/.ldflags; \
  echo -n "${VERSION}" | tee /tmp/.version;

FROM kit-base AS kitd
ARG TAGS
ARG VERIFYFLAGS="--static"
ARG KIT_DEBUG
ARG GCFLAGS=${KIT_DEBUG:+"all=-N -l"}
RUN --mount=target=. --mount=target=/root/.cache,type=cache \
  --mount=source=/tmp/.ldflags,target=/tmp/.ldflags,from=kit-version <<EOT
  set -ex
  echo "${GCFLAGS}|$(cat /tmp/.ldflags)|${TAGS}" > /usr/bin/kitd

  # more than one paragraph
  set +ex
  for attempt in $(seq 3); do
    echo "$attempt" >> /usr/bin/kitd
    [ "$attempt" -lt 2 ] || exit 0
  done
EOT

FROM scratch AS binaries-linux
COPY --link --from=runc /usr/bin/runc /kit-runc
COPY --link --from=kitd /usr/bin/kitd /

FROM scratch AS binaries-darwin
COPY --link --from=kitd /usr/bin/missing /

FROM binaries-$TARGETOS AS binaries
ARG SBOM_SCAN_STAGE=true

FROM alpinebase AS kit-export
COPY --link daemonless.sh /usr/bin/
VOLUME /var/lib/kit

FROM git AS daemon-src
RUN git clone https://example.com/daemon.git /usr/src/daemon

FROM kit-base as daemon
RUN --mount=from=daemon-src,src=/usr/src/daemon,readwrite --mount=target=/root/.cache,type=cache \
  echo changed >> cloned \
  && mkdir /out && mv cloned /out

ARG REGISTRY_VERSION
FROM base:$REGISTRY_VERSION AS registry

FROM kit-export AS kit-linux
COPY --link --from=binaries / /usr/bin/
COPY --link --from=daemon /out/clone* /usr/bin/
COPY --from=registry /etc/group /etc/group.registry
ENV SETUP_ROOT=1
ENTRYPOINT ["kitd"]

FROM kit-linux AS kit-linux-debug
COPY --link --chmod=755 <<EOF /docker-entrypoint.sh
#!/bin/sh
exec dlv exec /usr/bin/kitd \\
  -l 0.0.0.0:\${PORT:-5000} \\
  --root=${SETUP_ROOT} -- "\$@"
EOF
ENV PORT 5000
ENTRYPOINT ["/docker-entrypoint.sh"]

FROM kit-$TARGETOS${KIT_DEBUG:+-debug} AS kit
