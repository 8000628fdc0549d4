# syntax=docker/dockerfile:1

FROM --platform=${BUILDPLATFORM} base:1 AS builder
# ends at the first failure
SHELL ["/bin/bash", "-eux", "-o", "pipefail", "-c"]

RUN \
  --mount=target=/var/lib/apt/lists,type=cache,sharing=locked \
  --mount=target=/var/cache/apt,type=cache,sharing=locked \
  <<HEREDOC
    # a comment of the script
    echo 'Keep "true";' > /etc/keep-cache

    apt update && apt install -y --no-install-recommends \
      build-essential \
      curl
HEREDOC

ENV HOME="/root"
ENV PATH="$HOME/.venv/bin:$PATH"
WORKDIR $HOME

RUN <<HEREDOC
  mkdir -p $HOME/.venv/bin
  echo env > .venv/made
HEREDOC

COPY toolchain.toml .
ARG TARGETPLATFORM
RUN <<HEREDOC
  case "${TARGETPLATFORM}" in
    ( 'linux/arm64' )
      TARGET='aarch64-musl'
      ;;
    ( 'linux/amd64' )
      TARGET='x86_64-musl'
      ;;
    *) exit 1 ;;
  esac
  echo 'profile = "minimal"' >> toolchain.toml
  echo "${TARGET}" > target.txt
HEREDOC

ARG APP_NAME=tool
ARG CARGO_HOME=/usr/local/cargo
COPY crates/ crates/
COPY Cargo.toml Cargo.lock .
RUN \
  --mount=type=cache,target="/root/.cache/zig",id="zig-cache" \
  # comments between the flags
  --mount=type=cache,target="${CARGO_HOME}",id="cargo-cache" \
  --mount=type=cache,target="target/",id="cargo-target-${APP_NAME}",sharing=locked \
  --mount=type=tmpfs,target="${CARGO_HOME}/registry/src" \
  <<HEREDOC
    touch "${CARGO_HOME}/registry/src/lost" target/lost
    cargo build --release -o "target/${APP_NAME}"
    cp "target/${APP_NAME}" "/${APP_NAME}"
HEREDOC

FROM scratch AS output
COPY --from=builder /tool /root/toolchain.toml /root/target.txt /
WORKDIR /io
ENTRYPOINT ["/tool"]
