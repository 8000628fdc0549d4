FROM base:1-slim

LABEL maintainer="Web Server Maintainers <maint@example.com>"

ENV WEB_VERSION   1.27.0
ENV NJS_VERSION     0.8.4
ENV PKG_RELEASE     1~base

RUN set -x \
# users first, the same in all variants
    && groupadd --system --gid 101 web \
    && useradd --system --gid web --no-create-home --home /nonexistent --comment "web user" --shell /bin/false --uid 101 web \
    && apt-get update \
    && apt-get install --no-install-recommends --no-install-suggests -y gnupg1 \
    && \
    KEYS="573BFD6B 8540A6F1"; \
    KEY_PATH=/usr/share/web-keyring.gpg; \
    mkdir -p /usr/share; \
    found=''; \
    for server in \
        hkp://keyserver.example:80 \
        pgp.example \
    ; do \
        echo "Fetching $KEYS from $server"; \
        curl -o "$KEY_PATH" "$server" && found=yes && break; \
    done; \
    test -z "$found" && echo >&2 "error: no key" && exit 1; \
    apt-get remove --purge --auto-remove -y gnupg1 && rm -rf /var/lib/apt/lists/* \
    && arch="$(xx-info)" \
    && packages=" \
        web=${WEB_VERSION}-${PKG_RELEASE} \
        web-njs=${WEB_VERSION}+${NJS_VERSION}-${PKG_RELEASE} \
    " \
    && case "$arch" in \
        x86_64|aarch64) \
# built by upstream
            echo "deb [signed-by=$KEY_PATH] https://example.com/ base web" >> /etc/web.list \
            ;; \
        *) \
# built here
            exit 1 \
            \
# an empty continued line and a comment inside of it
            ;; \
    esac \
    \
    && echo $packages > /usr/share/packages \
# to the log collector
    && mkdir -p /var/log/web \
    && ln -sf /dev/stdout /var/log/web/access.log \
    && mkdir /docker-entrypoint.d

COPY docker-entrypoint.sh /
COPY 10-listen.sh /docker-entrypoint.d
COPY 20-templates.sh /docker-entrypoint.d
ENTRYPOINT ["/docker-entrypoint.sh"]

EXPOSE 80

STOPSIGNAL SIGQUIT

CMD ["web", "-g", "daemon off;"]
