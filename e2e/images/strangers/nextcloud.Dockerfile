FROM base:1-slim

RUN set -ex; \
    \
    apt-get update; \
    apt-get install -y --no-install-recommends \
        rsync \
    ; \
    \
    mkdir -p /var/spool/cron/crontabs; \
    echo '*/5 * * * * php -f /var/www/html/cron.php' > /var/spool/cron/crontabs/www-data

ENV MEMORY_LIMIT 512M
ENV UPLOAD_LIMIT 512M
RUN set -ex; \
    \
    saved="$(apt-mark showmanual)"; \
    \
    pecl() { echo "$@" >> /pecl; }; \
    pecl install cached-3.2 \
        --configureoptions 'enable-cached-igbinary="yes"'; \
    pecl install store-6.0 \
        --configureoptions 'enable-store-igbinary="yes" enable-store-lz4="yes"'; \
    \
# reset what is marked
    apt-mark auto '.*' > /dev/null; \
    echo "a => /usr/lib/b.so" \
        | awk '/=>/ { so = $(NF-1); if (index(so, "/usr/local/") == 1) { next }; gsub("^/(usr/)?", "", so); print so }' \
        | sort -u \
# https://manpages.example.com/
        | awk 'sub("=>$", "done", $1) { print $1 }' >> /pecl

RUN { \
        echo 'opcache.enable=1'; \
        echo 'opcache.memory=${OPCACHE_MEMORY}'; \
    } > "/etc/opcache.ini"; \
    \
    { \
        echo 'memory_limit=${MEMORY_LIMIT}'; \
    } > "/etc/cloud.ini"; \
    \
    mkdir /var/www/data; \
    mkdir -p /hooks.d/pre-installation \
             /hooks.d/before-starting; \
    chown -R www-data:root /var/www; \
    chmod -R g=u /var/www

VOLUME /var/www/html

ENV CLOUD_VERSION 29.0.1

COPY *.sh upgrade.exclude /
COPY config/* /usr/src/cloud/config/

ENTRYPOINT ["/entrypoint.sh"]
CMD ["web-foreground"]
