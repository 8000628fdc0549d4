FROM base:1

RUN set -eux; \
	apk add --no-cache \
# a shell
		bash \
# pictures
		imagemagick \
	;

RUN --mount=type=bind,from=base:1-slim,source=/etc/group,target=/usr/local/bin/pie.txt \
	set -ex; \
	\
	out="$(cat /usr/local/bin/pie.txt | head -1)"; \
	[ -n "$out" ]; \
	err="$(true 3>&1 1>&2 2>&3)"; \
	[ -z "$err" ]; \
	deps="$( \
		echo 'b,a' \
			| tr ',' '\n' \
			| sort -u \
			| awk '/a/ { next } { print "so:" $1 }' \
	)"; \
	apk add --virtual .deps $deps; \
	! { echo "$deps" | grep 'not found'; }; \
	echo "$out $deps" > /found

RUN set -eux; \
	{ \
		echo 'opcache.memory=128'; \
# https://example.com/errors
		echo 'error_log = /dev/stderr'; \
	} > "/etc/recommended.ini"

RUN set -eux; \
	version='6.5'; \
	\
	curl -o site.tar.gz -fL "https://example.com/site-$version.tar.gz"; \
	mkdir -p /usr/src/site; mv site.tar.gz /usr/src/site/; \
	[ ! -e /usr/src/site/.htaccess ]; \
	{ \
		echo 'RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]'; \
		echo 'RewriteCond %{REQUEST_FILENAME} !-f'; \
		echo ''; \
	} > /usr/src/site/.htaccess; \
	\
	chown -R www-data:www-data /usr/src/site; \
	mkdir content; \
	for dir in /usr/src/site/ cache; do \
		dir="$(basename "${dir%/}")"; \
		mkdir "content/$dir"; \
	done; \
	chmod -R 1777 content

VOLUME /var/www/html

COPY --chown=www-data:www-data config-docker.php /usr/src/site/
COPY docker-entrypoint.sh /usr/local/bin/
RUN ln -sv docker-entrypoint.sh /usr/local/bin/docker-ensure-installed.sh

ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["web-foreground"]
