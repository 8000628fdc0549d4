ARG NODE_VERSION=1
ARG FLOW_VERSION=snapshot
ARG TARGETPLATFORM
ARG http_proxy
ARG HTTP_PROXY
ARG NO_PROXY

FROM base:${NODE_VERSION} AS system-deps
ENV http_proxy=$http_proxy \
    NO_PROXY=$NO_PROXY

FROM base:1-slim AS artifacts
ENV http_proxy=$http_proxy
COPY ./compiled /app/

FROM base:1-slim AS launcher
ARG TARGETPLATFORM
ARG http_proxy
ARG NO_PROXY
ENV http_proxy=$http_proxy \
    NO_PROXY=$NO_PROXY
RUN set -e; \
    case "$TARGETPLATFORM" in \
        "linux/amd64") ARCH_NAME="amd64" ;; \
        "linux/arm64") ARCH_NAME="arm64" ;; \
        *) echo "Unsupported platform: $TARGETPLATFORM" && exit 1 ;; \
    esac; \
    mkdir /launcher-temp && cd /launcher-temp; \
    curl -sS "https://example.com/launcher-linux-${ARCH_NAME}.tar.gz" -o "launcher-${ARCH_NAME}.tar.gz"; \
    sha256sum launcher-*.tar.gz > checksum.sha256; \
    sha256sum -c checksum.sha256; \
    mkdir -p /launcher-bin && echo "$http_proxy,$NO_PROXY" > /launcher-bin/launcher; \
    cd / && rm -rf /launcher-temp

FROM system-deps AS runtime
ARG NO_PROXY
ENV NO_PROXY=$NO_PROXY

ARG FLOW_VERSION
ARG FLOW_RELEASE_TYPE=dev
ENV NODE_ENV=production
ENV FLOW_RELEASE_TYPE=${FLOW_RELEASE_TYPE}
ENV SHELL=/bin/sh

WORKDIR /home/node

COPY --from=artifacts /app /usr/local/lib/node_modules/flow
COPY --from=launcher /launcher-bin/* /usr/local/bin/
COPY docker/entrypoint.sh /
COPY docker/runners.json /etc/runners.json

RUN cd /usr/local/lib/node_modules/flow && \
		npm rebuild sqlite && \
		ln -s /usr/local/lib/node_modules/flow/bin/flow /usr/local/bin/flow && \
    mkdir -p /home/node/.flow && \
    chown -R node:node /home/node

EXPOSE 5678/tcp
USER node
ENTRYPOINT ["tini", "--", "/entrypoint.sh"]

LABEL org.opencontainers.image.title="flow" \
      org.opencontainers.image.description="Workflow Automation Tool" \
      org.opencontainers.image.version=${FLOW_VERSION}
