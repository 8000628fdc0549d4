FROM base:1-slim

RUN set -eux; \
	groupadd -r database --gid=999; \
# the numbers of Debian's package
	useradd -r -g database --uid=999 --home-dir=/var/lib/database --shell=/bin/bash database; \
# and its home
	mkdir -p /var/lib/database; \
	chown -R database:database /var/lib/database

ENV STEP_DOWN_VERSION 1.16
RUN set -eux; \
	saved="$(apt-mark showmanual)"; \
	curl -o /usr/local/bin/step-down "https://example.com/$STEP_DOWN_VERSION"; \
	[ -z "$saved" ] || exit 1; \
	chmod +x /usr/local/bin/step-down

ENV LANG en_US.utf8

RUN mkdir /docker-entrypoint-initdb.d

RUN set -ex; \
	key='B97B0AFCAA1A47F0'; \
	export HOME_OF_KEYS="$(mktemp -d)"; \
	echo "$key" > /usr/local/lib/keyring; \
	rm -rf "$HOME_OF_KEYS"

ENV DB_MAJOR 16
ENV PATH $PATH:/usr/lib/database/$DB_MAJOR/bin
ENV DB_VERSION 16.3-1.base120+1

RUN set -ex; \
	\
# see below
	export DONTWRITE=1; \
	\
	case "$(xx-info)" in \
		x86_64 | aarch64) \
# what upstream builds
			echo "deb main $DB_MAJOR" > /etc/db.list; \
			;; \
		*) \
			_update() { \
				exit 2; \
			}; \
			_update; \
			;; \
	esac; \
	\
	echo "#listen = 'localhost'" > /etc/sample; \
	sed -ri "s!^#?(listen)\s*=\s*\S+.*!\1 = '*'!" /etc/sample; \
	grep -F "listen = '*'" /etc/sample

RUN mkdir -p /var/run/database && chown -R database:database /var/run/database && chmod 3777 /var/run/database

ENV DATA /var/lib/database/data
RUN mkdir -p "$DATA" && chown -R database:database "$DATA" && chmod 1777 "$DATA"
VOLUME /var/lib/database/data

COPY docker-entrypoint.sh docker-ensure-initdb.sh /usr/local/bin/
RUN ln -s docker-ensure-initdb.sh /usr/local/bin/docker-enforce-initdb.sh
ENTRYPOINT ["docker-entrypoint.sh"]

# A comment between instructions
#
# that has several paragraphs.
STOPSIGNAL SIGINT
#
EXPOSE 5432
CMD ["database"]
