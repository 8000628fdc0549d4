# syntax=docker/dockerfile:1
ARG TOOL_VERSION=1
ARG EMULATOR_VERSION=HEAD
ARG EMULATOR_REPO=https://example.com/emulator

FROM --platform=$BUILDPLATFORM base:${TOOL_VERSION} AS src
WORKDIR /src
ARG EMULATOR_VERSION
ARG EMULATOR_REPO
RUN git clone $EMULATOR_REPO emulator && cd emulator && git checkout $EMULATOR_VERSION && echo 9.1.2 > VERSION
COPY patches patches
ARG PATCHES=cpu-max
ARG PATCHES_ALL=${PATCHES},alpine-patches
RUN <<eof
  set -ex
  if [ "${PATCHES_ALL#*alpine-patches}" != "${PATCHES_ALL}" ]; then
    ver="$(cat emulator/VERSION)"
    for l in $(cat patches/aports.config); do
      pver=$(echo $l | cut -d, -f1)
      if [ "${ver%.*}" = "${pver%.*}" ]; then
        echo $l | cut -d, -f2 > emulator/commit
        break
      fi
    done
  fi
  for p in $(echo $PATCHES_ALL | tr ',' '\n'); do
    echo "apply $p" >> emulator/applied
  done
eof

FROM --platform=$BUILDPLATFORM base:${TOOL_VERSION} AS base-build
ENV PATH=/emulator/install-scripts:$PATH
WORKDIR /emulator

FROM base-build AS build
ARG TARGETPLATFORM
ARG EMULATOR_VERSION TARGETS
ENV AR=llvm-ar STRIP=llvm-strip
RUN --mount=target=.,from=src,src=/src/emulator,rw --mount=target=./install-scripts,src=scripts \
  TARGETPLATFORM=${TARGETPLATFORM} configure.sh && \
  cat applied commit > /usr/bin/emulator-x && touch lost
ARG BINARY_PREFIX
RUN cd /usr/bin; [ -z "$BINARY_PREFIX" ] || for f in $(ls emulator-*); do ln -s $f $BINARY_PREFIX$f; done

FROM scratch AS binaries
ARG BINARY_PREFIX
COPY --from=build usr/bin/${BINARY_PREFIX}emulator-* /

FROM base AS crossarch
ARG BUILDARCH
RUN <<eof
  bash -euo pipefail -c '
    if [ "$BUILDARCH" = "amd64" ]; then
      echo "aarch64" > /arch
    else
      echo "x86_64" > /arch
    fi
    '
eof

FROM scratch AS image
COPY --from=binaries / /usr/bin/
COPY --from=crossarch /arch .
ARG KEEP_ARGV0
ENV KEEP_ARGV0=${KEEP_ARGV0}
ENTRYPOINT [ "/usr/bin/binfmt" ]
VOLUME /tmp
