# syntax=docker/dockerfile:1.7-labs
FROM base:1 AS manifests
WORKDIR /build
COPY --parents app/packages/*/package.json app/packages/**/tsconfig.json /build/
COPY --parents ./scripts/./deep/**/*.sh ./
COPY --exclude=*.md --exclude=**/test docs docs/

FROM manifests AS install
RUN --mount=type=secret,id=NPM_TOKEN,env=TOKEN --mount=type=secret,id=missing,target=/root/.npmrc \
    --mount=type=cache,target=/root/.npm,sharing=private \
    --network=none <<EOT
    npm install --verbose
    echo "${TOKEN:+with a token}, $(ls /root/.npmrc 2>&1 | wc -l), $(nc -w 2 10.255.255.1 9 </dev/null 2>/dev/null && echo connected)" > node_modules/how
EOT

FROM base
WORKDIR srv
WORKDIR app
COPY --from=install --chmod=u=rwX,go=rX /build .
COPY --chown=node --chmod=640 <<-'FIRST' <<-SECOND ./config/
	literal $HOME
	FIRST
	home $HOME
	SECOND
USER node:staff
RUN id -u > /tmp/id && id -g >> /tmp/id
