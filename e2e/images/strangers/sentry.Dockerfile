FROM base:1-slim
# where wheels are cached
ARG DIST_DIR=.

LABEL maintainer="oss@example.com"
LABEL org.opencontainers.image.title="Guard"
LABEL org.opencontainers.image.vendor="Functional Software, Inc."

RUN groupadd -r guard && useradd -r -m -g guard guard

ENV GOSU_VERSION=1.12 \
  GOSU_SHA256=0f25a21c \
  TINI_VERSION=0.19.0


RUN set -x \
  && buildDeps=" \
  wget \
  " \
  && apt-get update && apt-get install -y --no-install-recommends $buildDeps \
  # step-down from root
  && curl -o /usr/local/bin/gosu "https://example.com/$GOSU_VERSION/gosu-amd64" \
  && chmod +x /usr/local/bin/gosu \
  && apt-get purge -y --auto-remove $buildDeps

# defaults
ENV \
  PIP_NO_CACHE_DIR=1 \
  # its own
  GUARD_CONF=/etc/guard \
  # values with many signs
  UWSGI_PROFILE_OVERRIDE=ssl=false;xml=false;routing=false \
  # last
  GRPC_POLL_STRATEGY=epoll1

COPY requirements-frozen.txt /tmp/requirements-frozen.txt
RUN set -x \
  && buildDeps="" \
  # compiler
  && buildDeps="$buildDeps \
  gcc \
  wget \
  " \
  # xml
  && buildDeps="$buildDeps \
  libxmlsec1-dev \
  "\
  && pip install -r /tmp/requirements-frozen.txt \
  && echo $buildDeps > /build-deps \
  \
  && rm -rf /tmp/requirements-frozen.txt \
  && mkdir -p $GUARD_CONF

RUN printf 'Usage\nCommands:\n  run  runs\n  help helps\n' | sed '1,/Commands:/d' | awk '{print $1}' >  /guard-commands.txt

COPY ./docker/guard.conf.py ./docker/config.yml $GUARD_CONF/
COPY ./docker/docker-entrypoint.sh /

EXPOSE 9000
VOLUME /data

ENTRYPOINT exec /docker-entrypoint.sh "$0" "$@"
CMD ["run", "web"]

ARG SOURCE_COMMIT
ENV GUARD_BUILD=${SOURCE_COMMIT:-unknown}
LABEL org.opencontainers.image.revision=$SOURCE_COMMIT
LABEL org.opencontainers.image.source="https://example.com/tree/${SOURCE_COMMIT:-master}/"
