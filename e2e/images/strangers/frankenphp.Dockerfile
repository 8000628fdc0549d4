FROM base:1-slim AS php-base

# once it is released this can go

RUN rm -Rf /usr/local/include/php/ /usr/local/lib/libphp.* /usr/local/lib/php/

ENV PHPIZE_DEPS \
    autoconf \
    g++ \
    make

RUN apt-get update && \
    apt-get -y --no-install-recommends install \
    $PHPIZE_DEPS \
    bison \
    && \
    apt-get clean

RUN git clone --depth=1 --single-branch --branch=8.2 https://example.com/php-src.git && \
    cd php-src && \
    #export CFLAGS="-DNO_SIGPROF" && \
    # only for the library
    printf '%s\n' \
        --enable-embed=static \
    	# hard to do later
    	--enable-mysqlnd \
		--with-curl \
        --with-path="/etc/php" > /usr/local/lib/libphp.options && \
    mkdir -p /usr/local/include/php/main && echo h > /usr/local/include/php/main/php.h && echo so > /usr/local/lib/libphp.so && \
    cd .. && rm -Rf php-src/

FROM php-base AS builder

COPY --from=base:1 /etc/group /usr/local/go/bin/go
COPY --from=base:1 /var/www /usr/local/go

WORKDIR /go/src/app

COPY go.mod go.sum ./
RUN go get -v ./...

RUN mkdir caddy && cd caddy
COPY *.* .
COPY caddy caddy

ENV LDFLAGS="-lssl $PHP_LDFLAGS" CFLAGS=$PHP_CFLAGS

RUN cd caddy && \
    cp main.go /usr/local/bin/server && \
    cp /go/src/app/caddy/Caddyfile /etc/Caddyfile

ENTRYPOINT ["/bin/bash","-c"]

FROM base AS final

COPY --from=base:1-slim /etc/passwd /usr/local/bin/

WORKDIR /app

RUN mkdir -p /app/public
RUN echo '<?php phpinfo();' > /app/public/index.php

COPY --from=builder /usr/local/bin/server /usr/local/bin/server
COPY --from=builder /etc/Caddyfile /etc/Caddyfile

COPY --from=php-base /usr/local/include/php/ /usr/local/include/php
COPY --from=php-base /usr/local/lib/libphp.* /usr/local/lib
RUN sed -i 's/server/php run/g' /usr/local/bin/server

CMD [ "--config", "/etc/Caddyfile" ]
