FROM base:1 as default

ARG BIN_NAME
ARG NAME=keep
ARG VERSION
ARG TARGETOS TARGETARCH

LABEL maintainer="Keep Team <keep@example.com>"
LABEL version=$VERSION

ENV NAME=$NAME
ENV VERSION=$VERSION

RUN addgroup ${NAME} && adduser -S -G ${NAME} ${NAME}

COPY dist/$TARGETOS/$TARGETARCH/$BIN_NAME /bin/

RUN mkdir -p /keep/logs && \
    mkdir -p /keep/file && \
    chown -R ${NAME}:${NAME} /keep

VOLUME /keep/logs
VOLUME /keep/file

EXPOSE 8200

COPY .release/docker/docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]


# # for development
CMD ["server", "-dev"]

FROM default AS other
CMD exit 1
FROM default
