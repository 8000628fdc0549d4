FROM base:1-slim AS libc-donor
ARG TARGETARCH

RUN arch=${TARGETARCH:-amd64} \
    && case $arch in \
        amd64) kind=x86_64 ;; \
        arm64) kind=aarch64 ;; \
    esac \
    && mkdir -p /lib/$kind && ln -s "${kind}" /lib/linux && echo loader > /lib/linux/ld.so && echo c > /lib/linux/libc.so

FROM base

ENV LANG=en_US.UTF-8 \
    CONFIG=/etc/db-server/config.xml

COPY --from=libc-donor /lib/linux/ld.so /lib/linux/libc.so /lib/
COPY --from=libc-donor /etc/group /etc/
COPY related.xml /etc/db-server/config.d/
COPY entrypoint.sh /entrypoint.sh

ARG TARGETARCH
RUN arch=${TARGETARCH:-amd64} \
    && case $arch in \
        amd64) mkdir -p /lib64 && ln -sf /lib/ld.so /lib64/ld-linux.so ;; \
        arm64) exit 1 ;; \
    esac

ARG CHANNEL="stable"
ARG REPOSITORY="https://packages.example.com/${CHANNEL}"
ARG VERSION="25.6.3.116"
ARG PACKAGES="client server"
ARG URLS=""
ARG DEFAULT_UID="101"
ARG DEFAULT_GID="101"
RUN addgroup -S -g "${DEFAULT_GID}" db && \
    adduser -S -h "/var/lib/db" -s /bin/bash -G db -g "DB server" -u "${DEFAULT_UID}" db

RUN arch=${TARGETARCH:-amd64} \
    && cd /tmp \
    && if [ -n "${URLS}" ]; then \
        for url in $URLS; do \
            exit 1 \
        ; done \
    else \
        for package in ${PACKAGES}; do \
            echo "${REPOSITORY}/${package}-${VERSION}-${arch}.tgz" >> /packages \
        ; done \
    fi \
    && chmod +x /entrypoint.sh

ARG DATA_DIR="/var/lib/db"
ARG LOG_DIR="/var/log/db-server"
RUN mkdir -p \
      "${DATA_DIR}" \
      "${LOG_DIR}" \
    && chown db:db "${DATA_DIR}" \
    && chown root:db "${LOG_DIR}" \
    && chmod ugo+Xrw -R "${DATA_DIR}" "${LOG_DIR}"

VOLUME "${DATA_DIR}"
EXPOSE 9000 8123 9009

ENTRYPOINT ["/entrypoint.sh"]
